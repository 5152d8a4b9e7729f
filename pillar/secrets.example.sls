# What pillar/secrets.sls looks like. Do not copy it: run bin/secrets where the tree is
# kept, it writes the real file with mode 0600 and later adds what is missing. These
# placeholders are refused by the check. Who sees what: _utils/secret.py.
#
# Encrypted, for a file that may be kept in a repository: any value may be a PGP message instead,
# made for the masters' key ring and put in as a block (indentation as here):
#
#   gpg --homedir /etc/salt/gpgkeys --quick-generate-key salt-masters default default never
#   printf %s "$(cat)" | gpg --homedir /etc/salt/gpgkeys --armor --trust-model always \
#     -r salt-masters --encrypt        # type the password, then Ctrl-D: never in a command line
#
# The key ring must be on every master (both decrypt), its private key without a passphrase.
# bin/secrets leaves such values alone; for a new VM's certificate give it --gpg-home.
secrets:
  database:
    moodle: CHANGEME                   # Moodle's account: database and web VMs
    replication: |                     # the replica's account: database VMs
      -----BEGIN PGP MESSAGE-----

      hQEMA...
      -----END PGP MESSAGE-----
  moodle:
    admin: CHANGEME                    # first log-in of the administrator: web VMs
  web:                                 # only when moodle.url is https: web VMs
    tls:                               # bin/secrets signs one by ca; put your own in its place:
      certificate: CHANGEME            # PEM of the site's, then of each intermediate authority
      key: CHANGEME                    # PEM, without a passphrase
  drbd:
    shared: CHANGEME                   # at most 63 bytes: file VMs
  heartbeat:
    key: CHANGEME                      # 64 hexadecimal digits: every VM
    # also: …                          # while it is changed, see docs/runbook.md
  # fencing: {bmc1: …}                 # passwords of fence devices, yours: balancers
  ca: {certificate: CHANGEME, key: CHANGEME}    # the certificate: every VM; the key: nobody
  certificates:
    lb1: {certificate: CHANGEME, key: CHANGEME} # each VM its own
  salt:
    master: {private: CHANGEME, public: CHANGEME}  # balancers
    minions:
      lb1: {private: CHANGEME, public: CHANGEME}   # balancers see the public ones
