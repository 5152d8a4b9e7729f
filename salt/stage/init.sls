# The Moodle source of the pillar, ready for the web VMs to fetch by rsync from this master.
stage-packages-installed:
  pkg.installed:
    - pkgs: [git, rsync, xz-utils]

stage-folder-present:
  file.directory:
    - name: /srv/stage/releases
    - makedirs: True

stage-source-present:
  stage.present:
    - name: /srv/stage
    - source: {{ pillar.cluster.moodle.source | json }}
    - require:
      - pkg: stage-packages-installed
      - file: stage-folder-present

stage-daemon-configured:
  file.managed:
    - name: /etc/rsyncd.conf
    - source: salt://stage/files/rsyncd.conf
    - template: jinja

# The package's own unit, which starts only where there is an rsyncd.conf.
stage-daemon-running:
  service.running:
    - name: rsync
    - enable: True
    - require:
      - pkg: stage-packages-installed
      - file: stage-folder-present
    - watch:
      - file: stage-daemon-configured
