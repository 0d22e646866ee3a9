"""Checks a result while it is written: does the mouth follow the speech, and is the picture whole?"""
