"""CaptionExampleGen: a canonical data set to TFRecords of Examples, bad records to a quarantine."""
