"""The storage node: an S3 subset over real files, replicated three times; pure parts beside their edges."""
