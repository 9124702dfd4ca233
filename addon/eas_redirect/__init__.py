"""eas-redirect: an old Exchange server's UserHasNoMailbox becomes the 451 of newer ones."""

__version__ = "0.1.0"
