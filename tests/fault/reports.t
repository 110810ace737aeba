#!/bin/sh
# What users of the reference have been hit by.
exec "${MQ_BUILD:-build}/tests/fault/reports"
