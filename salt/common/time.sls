common-chrony-installed:
  pkg.installed:
    - name: chrony

common-chrony-configured:
  file.managed:
    - name: /etc/chrony/chrony.conf
    - source: salt://common/files/chrony.conf.jinja
    - template: jinja
    - require:
      - pkg: common-chrony-installed

common-chrony-running:
  service.running:
    - name: chrony
    - enable: True
    - watch:
      - file: common-chrony-configured
