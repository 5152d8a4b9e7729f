"""Let this VM's member of the arbiter come in: founding, first start, or after it was rebuilt."""

from salt.exceptions import CommandExecutionError


def enrolled(name, deadline=240):
    """
    Prepare the first start of the member, waiting ``deadline`` seconds at most for the others.

    A member that has data is left alone.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "the member has data"}
    if __salt__["etcd_member.enrolled"]():
        return ret
    if __opts__["test"]:
        return {**ret, "result": None, "comment": "would come in as a new member"}
    try:
        ret["comment"] = __salt__["etcd_member.enrol"](timeout=deadline)
        ret["changes"] = {"old": "no data", "new": ret["comment"]}
    except CommandExecutionError as error:
        ret.update(result=False, comment=str(error))
    return ret
