"""Write the verdicts of a folder of runs, with their provenance, as a small reference result.

overt run story --preset quick --out DIR
python benchmarks/story.py DIR --out benchmarks/results/story-quick.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from overt.studies import registry
from overt.studies.runner import judge
from overt.studies.store import Store


def main() -> None:
    """Judge the stored runs anew and write one JSON file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--study", default="story")
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    (section,) = judge(Store.open(given.folder), [registry.get(given.study)])
    done = [run for run in section.runs if not run.skipped]
    meta = done[0].meta
    content = {
        "study": section.name,
        "preset": section.preset,
        "runs": {"made": len(done), "planned": section.planned},
        "commits": sorted({f"{run.meta['commit']}{' dirty' * bool(run.meta['dirty'])}" for run in done}),
        **{key: meta[key] for key in ("command", "started", "versions", "python", "machine")},
        "seconds_of_all_runs": sum(float(run.meta["seconds"]) for run in done),
        "verdicts": [
            {
                "claim": claim.id,
                "title": claim.title,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "estimates": [vars(estimate) for estimate in verdict.estimates],
            }
            for claim, verdict in section.judged
        ],
    }
    content["command"] = str(content["command"]).replace(str(given.folder), "DIR")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
