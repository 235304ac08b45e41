"""A container without Docker: the lines of its Dockerfile, parsed, and run in a folder that holds a system.

- `Dockerfile`: the container; `constraints.txt`: the versions of all that is installed in it;
- `dockerfile`: its lines, as stages and steps; `chroot`: runs them, and what they make, in folders;
- `enter.sh`: runs a command in the system of a folder; `bare_debian.sh`: makes one, with a clone of this project.
"""
