web-packages-installed:
  pkg.installed:
    - pkgs:
      - apache2
      - rsync
      - php-cli
      - php-curl
      - php-fpm
      - php-gd
      - php-intl
      - php-mbstring
      - php-mysql
      - php-soap
      - php-xml
      - php-zip
