"""Storage in S3, or in any store that speaks its protocol."""
