<?php
// Command line options of the form --name=value or --name.

function options(array $allowed): array {
    $options = $allowed;
    foreach (array_slice($_SERVER['argv'], 1) as $argument) {
        [$name, $value] = explode('=', substr($argument, 2), 2) + [1 => true];
        if (!str_starts_with($argument, '--') || !array_key_exists($name, $allowed)) {
            stop("unknown option $argument");
        }
        $options[$name] = $value;
    }
    return $options;
}

function stop(string $why): never {
    fwrite(STDERR, $why . "\n");
    exit(1);
}
