# A file server: one side of the DRBD resource, and an NFS server that waits to be started. Which
# VM serves is decided at run time (files.activate), never here; the founding is the exception.
include:
  - file.drbd
  - file.nfs

file-packages-installed:
  pkg.installed:
    - pkgs: [drbd-utils, nfs-kernel-server]
    - require:
      - file: file-packaged-units-masked

file-resource-founded:
  resource.founded:
    - name: files
    - require:
      - drbd: file-drbd-resource-present
      - service: file-nfs-mountd-running
