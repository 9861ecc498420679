# Sourced by both sides: every line that the machine must print, in this order, each after "vm: ok: ".
# shellcheck shell=bash disable=SC2034 # used by who sources it
checks=(
    "the kernel is Debian's 6.1 and has Landlock"
    "control groups are of version 2"
    "the packages install"
    "the jail's socket listens"
    "the jail stands for its user"
    "the control plane serves"
    "the node is let in"
    "the agent's unit runs as its user"
    "doctor finds a whole jail"
    "restricted code runs"
    "the jail's unit runs as its user, confined"
    "the jail's group has its limits"
    "a run that eats memory is killed by its limit"
    "trusted code gets what its policy allows, through both units"
    "no limit is degraded"
    "probes behind the unit"
    "every promise holds behind the unit"
    "probes as root"
    "the units end and leave nothing"
)
