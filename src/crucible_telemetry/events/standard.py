"""The known events: those of the sibling libraries, of this one, and of the conventions around. PURE.

Every spelling has a row; the older ones (``ensemble.*``, ``hedging.*``, ``causal_trace.*``) name the
event of today's library as their alias. Where two spellings differ in unit, both are as their
producers have them.
"""

from typing import Any, Final

from crucible_telemetry.events.rows import Row

HEDGE, ENSEMBLE, STAGE, PIPELINE, TASK = 1, 2, 3, 4, 5
"""How far outside the calls to a model an operation lies: column `wraps` (see `columns.counted_once`)."""

FAMILIES: Final = (
    Row(name="llm.*", category="llm"),
    Row(name="req_llm.*", category="llm"),
    Row(name="altar.*", category="tools"),
    Row(name="altar.ai.*", category="llm"),
    Row(name="gen_ai.*", category="llm"),
    Row(name="gen_ai.execute_tool.*", category="tools"),
    Row(name="gen_ai.invoke_agent.*", category="task", wraps=TASK),
    Row(name="tinkex.*", category="training"),
    Row(name="crucible_ensemble.*", category="ensemble", unit="us", wraps=ENSEMBLE),
    Row(name="crucible_ensemble.model.*", category="llm", wraps=0),
    Row(name="ensemble.*", category="ensemble", wraps=ENSEMBLE),
    Row(name="ensemble.predict.*", unit="us"),
    # Its cost counts requests; the money is in the calls it wraps.
    Row(name="crucible_hedging.*", category="hedging", unit="ms", latency_unit="ms", wraps=HEDGE,
        money=False),
    Row(name="hedging.*", category="hedging", wraps=HEDGE, money=False),
    Row(name="research_harness.*", category="task", unit="ms", wraps=TASK),
    Row(name="crucible_train.*", category="training"),
    Row(name="crucible_deployment.*", category="deployment"),
    Row(name="crucible_framework.*", category="framework", wraps=PIPELINE),
    Row(name="crucible_trace.*", category="trace"),
    Row(name="causal_trace.*", category="trace"),
    Row(name="training.*", category="training"),
    Row(name="tool.*", category="tools"),
)  # fmt: skip
"""What holds for all events of a library."""


def _row(name: str, description: str, **columns: Any) -> Row:
    return Row(name=name, description=description, **columns)


def _operation(prefix: str, what: str, **columns: Any) -> tuple[Row, Row, Row]:
    """Start, stop and exception of one operation."""
    return (
        _row(f"{prefix}.start", f"{what} started", **columns),
        _row(f"{prefix}.stop", f"{what} ended", **columns),
        _row(f"{prefix}.exception", f"{what} raised", **columns),
    )


LLM: Final = (
    *_operation("llm.request", "A call by `ct.llm_call`"),
    *_operation("req_llm.request", "A request of req_llm"),
    _row("req_llm.request.retry", "A request of req_llm is tried again", ends=False),
    _row("req_llm.token_usage", "Tokens and cost; its stop may repeat them",
         repeats=True),
    *_operation("altar.ai.text_gen", "A text generation of altar_ai"),
    *_operation("crucible_ensemble.model", "A model call of an ensemble"),
    *_operation("gen_ai.chat", "A chat call (OpenTelemetry)"),
    *_operation("gen_ai.text_completion", "A completion (OpenTelemetry)"),
    *_operation("gen_ai.generate_content", "A generation (OpenTelemetry)"),
    *_operation("gen_ai.embeddings", "An embedding (OpenTelemetry)"),
)  # fmt: skip


def _aliased(older: str, today: str, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The same events under an older prefix."""
    return tuple(
        _row(older + row.name.removeprefix(today), row.description or "", ends=row.ends,
             alias=row.alias or row.name)
        for row in rows
    )  # fmt: skip


_PREDICT: Final = _operation("crucible_ensemble.predict", "A prediction of an ensemble")
_VOTE: Final = (_row("crucible_ensemble.vote.completed", "Votes were counted", ends=False),)
_HEDGING: Final = (
    *_operation("crucible_hedging.request", "A hedged request"),
    _row("crucible_hedging.request.cancelled", "The slower of two requests was cancelled", ends=False),
    _row("crucible_hedging.hedge.fired", "The second request was sent (`delay` in ms)", ends=False),
    _row("crucible_hedging.hedge.won", "The second request was faster (`latency` since it began)",
         ends=False),
)  # fmt: skip
_TRACE: Final = (
    _row("crucible_trace.event.created", "A reasoning event was recorded", ends=False),
)

ENSEMBLES: Final = (
    *_PREDICT,
    *_VOTE,
    *(_row(row.name, row.description or "", ends=False)
      for row in _operation("crucible_ensemble.executor", "Asking all models of an ensemble")),
    *_aliased("ensemble.predict", "crucible_ensemble.predict", _PREDICT),
    *_aliased("ensemble.prediction", "crucible_ensemble.predict", _PREDICT),
    *_aliased("ensemble.vote", "crucible_ensemble.vote", _VOTE),
    _row("ensemble.vote.complete", "Votes were counted", ends=False,
         alias="crucible_ensemble.vote.completed"),
    _row("crucible_ensemble.vote.complete", "Votes were counted", ends=False,
         alias="crucible_ensemble.vote.completed"),
    _row("consensus.model_agreement", "How far the models of an ensemble agree", category="ensemble",
         ends=False),
)  # fmt: skip
HEDGES: Final = (
    *_HEDGING,
    *_aliased("hedging", "crucible_hedging", _HEDGING),
    _row("hedging.request.duplicated", "The second request was sent", ends=False,
         alias="crucible_hedging.hedge.fired"),
    _row("crucible_hedging.request.duplicated", "The second request was sent", ends=False,
         alias="crucible_hedging.hedge.fired"),
)  # fmt: skip
TRAINING: Final = (
    *_operation("crucible_train.training", "A training run", wraps=TASK),
    *_operation("crucible_train.epoch", "An epoch", wraps=STAGE),
    *_operation("crucible_train.batch", "A batch"),
    _row("crucible_train.checkpoint.saved", "A checkpoint was written", ends=False),
    *_operation("tinkex.http.request", "An HTTP request of tinkex"),
)
OTHERS: Final = (
    *_operation("crucible_deployment.inference", "An inference"),
    *_operation("crucible_framework.pipeline", "A pipeline", wraps=PIPELINE),
    *_operation("crucible_framework.stage", "A stage of a pipeline", wraps=STAGE),
    *_TRACE,
    *_aliased("causal_trace", "crucible_trace", _TRACE),
    *_operation("altar.tool", "A tool call"),
    *_operation("gen_ai.execute_tool", "A tool call (OpenTelemetry)"),
    *_operation("gen_ai.invoke_agent", "An agent's turn (OpenTelemetry)"),
    *_operation("research_harness.task", "A task of a research harness"),
    _row("research_harness.task.complete", "A task of a research harness ended"),
)

STANDARD: Final = (*FAMILIES, *LLM, *ENSEMBLES, *HEDGES, *TRAINING, *OTHERS)
"""All rows."""
