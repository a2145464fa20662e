"""What discriminators see of images, so that they do not learn small data sets by heart."""
