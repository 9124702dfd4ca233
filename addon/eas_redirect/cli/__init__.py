"""The eas-redirect command: one file a command, thin faces over the other rooms."""
