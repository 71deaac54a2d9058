"""Write the HTML report of the run."""
