"""Code that the exports of several families share."""
