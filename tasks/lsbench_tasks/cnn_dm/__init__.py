"""CNN/DailyMail 3.0.0 (Hermann et al., 2015; See et al., 2017): summaries, and going on with an article."""
