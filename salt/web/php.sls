{% from 'web/map.jinja' import php, fpm with context %}
include:
  - web.packages
  - web.release

web-php-configured:
  file.managed:
    - template: jinja
    - context: {socket: /run/php/{{ fpm }}.sock}
    - names:
      - /etc/php/{{ php }}/fpm/conf.d/90-moodle.ini:
        - source: salt://web/files/php.ini
      - /etc/php/{{ php }}/cli/conf.d/90-moodle.ini:
        - source: salt://web/files/php.ini
      - /etc/php/{{ php }}/fpm/pool.d/www.conf:
        - source: salt://web/files/pools.conf
    - require:
      - pkg: web-packages-installed

web-php-running:
  service.running:
    - name: {{ fpm }}
    - enable: True
    - reload: True
    - watch:
      - file: web-php-configured

# Empties the opcode cache, which would keep serving the release before the switch.
web-php-reloaded:
  module.run:
    - service.reload:
      - name: {{ fpm }}
    - onchanges:
      - release: web-release-deployed
    - require:
      - service: web-php-running
