"""MuseTalk's UNet and its face parser."""
