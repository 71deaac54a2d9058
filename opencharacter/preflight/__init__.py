"""What a run would miss on a cluster, told in plain words before anything is installed or submitted."""
