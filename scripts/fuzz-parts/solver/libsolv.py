"""Answers with libsolv (python3-solv) what it would install. Lines of JSON in and out, one question each.

in:  {"arch": "x86_64", "primaries": [FILE...], "recommends": bool,
      "questions": [{"install": [[NEVRA...]...], "only": [NEVRA...] | null}]}
     each list of "install" is one job: any one of these packages; "only": what the solver may see
out: {"answers": [{"ok": bool, "picked": [NEVRA...]}]}; a package of several repositories counts once
"""
import json
import sys

import solv


def nevra(s):
    evr = s.evr if ":" in s.evr else "0:" + s.evr
    return f"{s.name}-{evr}.{s.arch}"


def open_pool(arch, primaries):
    pool = solv.Pool()
    pool.setdisttype(solv.Pool.DISTTYPE_RPM)
    pool.setarch(arch)
    # As in libsolv for Fedora and Enterprise Linux: 32-bit packages have the versions of the 64-bit ones.
    pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
    for index, path in enumerate(primaries):
        repo = pool.add_repo(f"r{index}")
        repo.priority = 0
        if not repo.add_rpmmd(solv.xfopen(path), None):
            raise ValueError(f"{path}: {pool.errstr}")
    pool.addfileprovides()
    pool.createwhatprovides()
    return pool


def answer(pool, ids, question, recommends):
    only = question["only"]
    if only is None:
        pool.set_considered_list([i for found in ids.values() for i in found])
    else:
        pool.set_considered_list([i for it in only for i in ids[it]])
    pool.createwhatprovides()
    jobs = []
    for names in question["install"]:
        found = [i for it in names for i in ids[it]]
        if only is not None:
            found = [i for i in found if nevra(pool.id2solvable(i)) in only]
        if not found:
            return {"ok": False, "picked": []}
        flags = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_ONE_OF
        jobs.append(pool.Job(flags, pool.towhatprovides(found)))
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 0 if recommends else 1)
    if solver.solve(jobs):
        return {"ok": False, "picked": []}
    picked = sorted({nevra(s) for s in solver.transaction().newsolvables()})
    return {"ok": True, "picked": picked}


for line in sys.stdin:
    asked = json.loads(line)
    pool = open_pool(asked["arch"], asked["primaries"])
    ids = {}
    for s in pool.solvables_iter():
        if s.repo is not None:
            ids.setdefault(nevra(s), []).append(s.id)
    answers = [answer(pool, ids, it, asked["recommends"]) for it in asked["questions"]]
    print(json.dumps({"answers": answers}), flush=True)
