"""Whisper's audio features, which several pipelines share: log-mel frames, segments, and the encoder's sizes.

Pipelines were trained with different rules between the log-mel frames and the encoder's segments:

- LatentSync: one floor, 8 decades below the whole audio's peak; missing mel frames at the end are 0; the encoder's
  last state is taken before the final LayerNorm.
- MuseTalk 1.5: a floor for each 30 s segment, computed from samples padded with silence; the last state is taken after
  the final LayerNorm.

mel.py has what both rules need, and the first one; padded.py has the second one.
"""
