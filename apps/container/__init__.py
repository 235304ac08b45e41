"""Build and try the container without Docker: parse its Dockerfile and run the steps in a root folder.

- `Dockerfile`: the container; `constraints.txt`: the versions of all packages installed in it;
- `dockerfile`: parses the Dockerfile into stages and steps; `chroot`: runs the steps and the built image in folders;
- `enter.sh`: runs a command in a root folder; `bare_debian.sh`: makes a root folder with a clone of this project.
"""
