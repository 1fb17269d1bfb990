"""The phases of a run, in order; each leaves on disk what a continuation needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from agent.build import Progress, Subject, Terms, open_subject, prepare, use_threads
from agent.campaign import Campaign
from agent.config import Settings
from agent.effort import effort_of
from agent.frontier import write_frontier
from agent.hyperparameters import Hyperparameters
from agent.interrupts import Interruptible
from agent.judge import Judge
from agent.plan_sources import Sources
from agent.prediction import cached_table
from agent.progress import make_display
from agent.report_energy import energy_split
from agent.report_files import write_report
from agent.run_folder import RunFolder, threads
from agent.searchers import single
from agent.searchers.composite import CompositeSearcher
from agent.searchers.protocol import Searcher
from agent.searchers.registry import measuring_searcher, new_searcher
from agent.summary import print_summary, result_json
from agent.terminal import write_json
from compress.device import chosen_device, device_title
from compress.repair_record import REPAIRS
from hwmodels.accelerator import Accelerator
from plan.command import DONE, INTERRUPTED
from plan.document import Document, load
from plan.space import build_space


class Pipeline:
    """One run from its request to its plan.

    Args:
        settings: the request, checked.
        accelerator: the hardware that it names.
        folder: where results go.
        console: where the display and the summary go.
    """

    def __init__(self, settings: Settings, accelerator: Accelerator, folder: RunFolder, console: Console) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.folder = folder
        self.console = console
        self.display = Interruptible(make_display(console, quiet=settings.quiet))
        self.began = time.monotonic()

    def run(self, command: Sequence[str]) -> int:
        """Returns the exit status after all phases, or after as many as an interrupt allowed.

        Args:
            command: the command line as typed, for the record.

        Raises:
            EspalierError: an input that does not fit, found before the folder is made, or limits that nothing keeps.
        """
        use_threads(threads())
        device = chosen_device(self.settings.device)
        with self.display:
            subject = self._open()
            self.folder.create(self.settings, command, device_title(device))
            self.display.note(f"networks run on {device_title(device)}")
            campaign = self._campaign(subject, device)
            try:
                document = self._search(campaign)
            except KeyboardInterrupt:
                self.display.heed()
                return self._interrupted()
            finally:
                self.folder.end_phase()
        views = energy_split(document, campaign.assembly.network, self.accelerator).other_views
        if self.settings.json:
            write_json(result_json(document, views, self.folder.plan))
        elif not self.settings.quiet:
            print_summary(self.console, document, views, self.folder.plan)
        return DONE

    def _phase(self, name: str, total: int | None = None) -> None:
        self.display.phase(name, total)
        self.folder.start_phase(name)

    def _shown(self) -> Progress:
        return lambda phase, done, total: self.display.advance(done, total, phase)

    def _open(self) -> Subject:
        """Returns network and data, after a check that the space can be built."""
        settings = self.settings
        self.display.phase("network, weights, data")
        subject = open_subject(
            settings.net,
            settings.weights,
            settings.data,
            equalise=settings.equalise,
            progress=self.display.advance,
        )
        network = subject.traced.network
        space = build_space(network, self.accelerator.capabilities, settings.baseline_bits, settings.restrictions)
        for note in network.notes:
            self.display.note(note)
        self.display.note(
            f"{network.name}: {len(network.layers)} layers, {network.macs / 1e6:,.1f} M MACs, "
            f"10^{space.log10_size:.0f} plans; weights: {subject.weights_origin}"
        )
        return subject

    def _campaign(self, subject: Subject, device: torch.device) -> Campaign:
        """Returns the search in front of its first measurement."""
        self._phase("profile")
        settings = self.settings
        sources = Sources(settings.net, settings.weights, settings.data, settings.hw)
        terms = Terms(sources, settings.baseline_bits, settings.restrictions, REPAIRS[settings.repair])
        assembly, measurer = prepare(subject, self.accelerator, terms, self._shown(), device)
        self._phase("error table")
        problem = assembly.problem(cached_table(assembly, measurer, settings.proxy, self._shown()), settings.objective)
        effort = effort_of(settings, assembly.network, subject.image_counts)
        return Campaign(settings, self.folder, self.display, assembly, Judge(subject, measurer), problem, effort)

    def _search(self, campaign: Campaign) -> Document:
        """Returns the plan's document after all measured phases."""
        if self.settings.measured_only:
            self._phase("measure", campaign.effort.evaluations)
            campaign.explore(measuring_searcher(self.settings.method), self._deadline())
        else:
            self._predict_and_measure(campaign)
        self._report(campaign)
        self._phase("finalists")
        best = campaign.choose(self._deadline())
        self._phase("fidelity")
        campaign.rank()
        self._phase("test")
        document = campaign.document(best, campaign.measurement(best.choice, campaign.splits.test))
        self._phase("write")
        self.folder.save_plan(document)
        self._report(campaign)
        return document

    def _report(self, campaign: Campaign) -> None:
        """Writes the frontier, and the report once there is a plan to show."""
        write_frontier(campaign, self.folder)
        if self.folder.plan.is_file():
            document = load(self.folder.plan)
            write_report(self.folder.path, document, campaign.assembly.network, self.accelerator)

    def _predict_and_measure(self, campaign: Campaign) -> None:
        """Calibrates the proxy, searches on it, and measures around the limits."""
        self._phase("calibrate", campaign.effort.calibration_plans + 1)
        campaign.calibrate(self._deadline())
        self._phase("learn")
        searcher = self._searcher()
        candidates = campaign.propose(searcher, self._deadline())
        self._phase("adapt", campaign.effort.adaptation_plans)
        candidates = campaign.adapt(searcher, candidates, self._deadline())
        self._phase("measure", campaign.effort.evaluations)
        campaign.refine(candidates, self._deadline())

    def _searcher(self) -> Searcher:
        if self.settings.method != "composite":
            return new_searcher(self.settings.method)
        if self.settings.algo in single.ALGORITHMS:
            return single.SingleSearcher(self.settings.algo)
        hyper = Hyperparameters()
        hyper = single.ppo_alone(hyper) if self.settings.algo == "ppo" else hyper
        start = None if self.settings.init_from is None else Path(self.settings.init_from)
        return CompositeSearcher(hyper, folder=self.folder.path, tensorboard=self.folder.path / "tb", start=start)

    def _deadline(self) -> float | None:
        limit = self.settings.time_limit
        return None if limit is None else self.began + limit

    def _interrupted(self) -> int:
        """Returns the status of a run that was stopped: done, if it has a plan."""
        if not self.folder.plan.is_file():
            return INTERRUPTED
        self.display.note(
            f"stopped; the best plan so far is {self.folder.plan}, measured on the search images only; "
            f"continue with --out {self.folder.path} --resume"
        )
        return DONE
