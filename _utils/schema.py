"""
Judge data by pillar/schema.yaml and say what would be right, in an operator's words.

Pure: data and schema in, errors out. Values below ``secrets`` are never repeated in a message.
"""

import copy
import difflib
import ipaddress
import re


def validate(data, schema):
    """
    Return ``{"errors": [{path, message}], "valid": copy of data without what is wrong}``.

    Cross-checks read ``valid``: whatever is in there has the right type and form.
    """
    valid, errors = _string_keys(data, [])
    for error in _validator(schema).iter_errors(copy.deepcopy(valid)):
        errors += _sentences(error)
        _prune(valid, error)
    return {"errors": errors, "valid": valid if isinstance(valid, dict) else {}}


def problem(path, message):
    """Return one error; ``path`` is a list of keys."""
    return {"path": ".".join(str(part) for part in path), "message": message}


def _string_keys(data, path):
    # YAML reads 1: and yes: as an integer and a boolean; a pattern over keys would crash on them.
    if isinstance(data, list):
        pairs = [_string_keys(entry, [*path, index]) for index, entry in enumerate(data)]
        return [entry for entry, _ in pairs], [error for _, found in pairs for error in found]
    if not isinstance(data, dict):
        return data, []
    kept, errors = {}, []
    for key, value in data.items():
        if not isinstance(key, str):
            errors.append(problem([*path, key], "is not read as text here; write it in quotes"))
            continue
        kept[key], found = _string_keys(value, [*path, key])
        errors += found
    return kept, errors


def _validator(schema):
    import jsonschema  # here, so that a missing library becomes an error and not a missing guard

    formats = jsonschema.FormatChecker(formats=())
    formats.checks("ipv4", raises=ValueError)(_is_address)
    formats.checks("subnet", raises=ValueError)(_is_subnet)
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)  # not 80.0
    strict = jsonschema.validators.extend(base, {"pattern": _pattern}, type_checker=types)
    return strict(schema, format_checker=formats)


def _pattern(validator, pattern, instance, schema):
    # In JSON Schema `$` is the end; Python's also matches before a last line feed.
    import jsonschema

    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"does not match {pattern}")


def _is_address(value):
    return not isinstance(value, str) or bool(ipaddress.IPv4Address(value))


def _is_subnet(value):
    if isinstance(value, str) and "/" not in value:
        raise ValueError("has no prefix")
    return not isinstance(value, str) or bool(ipaddress.IPv4Network(value))


def _sentences(error):
    path = list(error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        extra = [key for key in error.instance if key not in known]
        return [problem([*path, key], _unknown(key, known)) for key in extra]
    if error.validator == "required":
        # One error per missing key; jsonschema names it in its message only.
        missing = next(key for key in error.validator_value if error.message.startswith(repr(key)))
        return [problem([*path, missing], _missing(path, missing, error.schema))]
    if "propertyNames" in error.absolute_schema_path:
        return [problem([*path, error.instance], f"the key is not {_expected(error)}")]
    return [problem(path, _wrong(error, secret=path[:1] == ["secrets"]))]


def _unknown(key, known):
    if not known:
        return "unknown key; nothing is set here, write {}"
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}" if near else "known here: " + ", ".join(known)
    return f"unknown key; {hint}"


def _missing(path, key, schema):
    if [*path, key][0] == "secrets":
        return "is missing; run bin/secrets, it adds what is missing and replaces nothing"
    description = schema.get("properties", {}).get(key, {}).get("description", "")
    return f"is missing; {description.split('. ')[0].rstrip('.')}" if description else "is missing"


def _wrong(error, secret):
    shown = "the value" if secret else _shown(error.instance)
    if error.validator == "enum":
        return f"{shown} is unknown; write one of {', '.join(error.validator_value)}"
    if error.validator == "uniqueItems":
        return f"{shown} names something twice; name each once"
    if error.validator in ("minItems", "minProperties"):
        return f"has {len(error.instance)} entries; at least {error.validator_value} are needed"
    if error.validator == "type" and error.validator_value in ("object", "array"):
        kind = {"object": "keys and values", "array": "a list"}[error.validator_value]
        return f"{shown} is not {kind}"
    return f"{shown} is not {_expected(error)}{_repair(error)}"


def _expected(error):
    return error.schema.get("expected") or error.validator_value


def _repair(error):
    """Return what the operator probably meant, where that can be told."""
    value = error.instance
    if error.schema.get("format") == "subnet" and "/" in str(value):
        try:
            return f"; perhaps {ipaddress.IPv4Network(value, strict=False)}"
        except ValueError:
            return ""
    if "a size," not in str(error.schema.get("expected")):
        return ""
    size = re.fullmatch(r"\s*([1-9][0-9]*)\s*([kKmMgGtT]?)i?[bB]?\s*", str(value))
    return f"; perhaps {size[1]}{(size[2] or 'M').upper()}" if size else ""


def _shown(value):
    if isinstance(value, (dict, list)):
        return f"a list of {len(value)}" if isinstance(value, list) else "a mapping"
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _prune(data, error):
    """Take what ``error`` complains about out of ``data``."""
    path = list(error.absolute_path)
    if error.validator in ("required", "minProperties", "minItems", "uniqueItems"):
        return
    if "propertyNames" in error.absolute_schema_path:
        path = [*path, error.instance]
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        targets = [[*path, key] for key in error.instance if key not in known]
    else:
        targets = [path]
    for target in targets:
        _remove(data, target)


def _remove(data, path):
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)
    elif isinstance(data, list):
        data[path[-1]] = None  # keeps the indexes of its neighbours; cross-checks skip None
