"""Captured traffic: the EAS view, flow files and HAR, their redaction."""
