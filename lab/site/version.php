<?php
// The same place and form as Moodle's, so that whatever reads one reads the other.
$version  = 2025010100.00;
$release  = '1.0 (course site)';
