# SPDX-License-Identifier: Apache-2.0
"""A dashboard's plain data become Grafana's JSON, by Grafana's own Foundation SDK.

Why it exists: the names of Grafana's options are not ours to write down. The SDK has them as
types of the Grafana version it is made for, and is pinned.

It must never decide what a dashboard says: only where it stands and how it is drawn.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, tempo, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType, TempoQueryType

from .dashboards.common import STARTS
from .panels import DATASOURCE, INSTANCE, JOB, TRACES, Series, Stat, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .options import Options
    from .panels import Column, Dashboard, Panel, Query, Steps

    AnyPanel = stat.Panel | table.Panel | timeseries.Panel

TAG: Final = "ws-audit"
_WIDTH: Final = 24  # of Grafana's grid
_PROMETHEUS: Final = common.DataSourceRef(type_val="prometheus", uid="${" + DATASOURCE + "}")
_TEMPO: Final = common.DataSourceRef(type_val="tempo", uid="${" + TRACES + "}")


def render(page: Dashboard, options: Options) -> str:
    """The JSON of one dashboard, as it is provisioned and as it is imported by hand."""
    made = builders.Dashboard(page.title)
    made.uid(page.uid)
    made.description(page.about)
    made.tags([TAG])
    made.time("now-6h", "now")
    made.refresh("30s")
    made.timezone("browser")
    made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made.link(_others())
    made.variables(list(_variables(page, options)))
    made.annotation(_starts())
    numbers = itertools.count(1)
    for panel in page.first:
        made.with_panel(_drawn(panel, next(numbers)))
    for row in page.rows:
        heading = builders.Row(row.title)
        heading.id(next(numbers))
        heading.collapsed(row.collapsed)
        panels = [_drawn(panel, next(numbers)) for panel in row.panels]
        # What is open follows its heading, what is closed is kept inside.
        into = heading if row.collapsed else made
        if not row.collapsed:
            made.with_row(heading)
        for drawn in panels:
            into.with_panel(drawn)
        if row.collapsed:
            made.with_row(heading)
    document = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    # What the SDK adds and this version of Grafana no longer has, or has for other kinds only.
    for variable in document["templating"]["list"]:
        for name in ("auto", "auto_min", "auto_count"):
            variable.pop(name, None)
    for made_panel in _all_panels(document):
        made_panel.get("options", {}).pop("footer", None)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _all_panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in document["panels"]:
        yield panel
        yield from panel.get("panels", ())


# --- around the panels ------------------------------------------------------------------------


def _others() -> builders.DashboardLink:
    link = builders.DashboardLink("ws-audit")
    link.type(dashboard.DashboardLinkType.DASHBOARDS)
    link.tags([TAG])
    link.include_vars(True)
    link.keep_time(True)
    return link


def _variables(
    page: Dashboard, options: Options
) -> Iterable[builders.DatasourceVariable | builders.QueryVariable]:
    """Which Prometheus, which jobs, which targets.

    Where the data source of that uid is not there, as after an import by hand, Grafana chooses the
    first of its kind and shows the choice.
    """
    yield _datasource(DATASOURCE, "Prometheus", "prometheus", options.prometheus_uid)
    if page.asks_for_traces:
        yield _datasource(TRACES, "Traces", "tempo", options.tempo_uid)
    of_jobs = f'ws_audit_build_info{{job=~"{options.job_in_quotes}"}}'
    yield _query(JOB, "Job", f"label_values({of_jobs}, job)", options.job_in_quotes)
    of_targets = f'ws_audit_build_info{{job=~"${JOB}"}}'
    yield _query(INSTANCE, "Target", f"label_values({of_targets}, instance)", ".+")


def _datasource(name: str, label: str, kind: str, uid: str) -> builders.DatasourceVariable:
    variable = builders.DatasourceVariable(name)
    variable.label(label)
    variable.type(kind)
    variable.current(dashboard.VariableOption(selected=False, text=uid, value=uid))
    return variable


def _query(name: str, label: str, expr: str, every: str) -> builders.QueryVariable:
    variable = builders.QueryVariable(name)
    variable.label(label)
    variable.datasource(_PROMETHEUS)
    variable.query({"query": expr, "refId": f"variable-{name}"})
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    variable.multi(True)
    variable.include_all(True)
    variable.all_value(every)
    variable.current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return variable


def _starts() -> builders.AnnotationQuery:
    """Marks where a process began: a deployment, a restart."""
    query = prometheus.Dataquery()
    query.expr(STARTS)
    query.legend_format("{{job}} {{instance}} began")
    query.ref_id("Anno")
    query.range()
    mark = builders.AnnotationQuery()
    mark.name("Processes that began")
    mark.datasource(_PROMETHEUS)
    mark.icon_color("blue")
    mark.enable(True)
    mark.target(query)
    return mark


# --- the panels -------------------------------------------------------------------------------


def _drawn(panel: Panel, number: int) -> AnyPanel:
    if isinstance(panel, Stat):
        drawn: AnyPanel = _stat(panel)
    elif isinstance(panel, Series):
        drawn = _series(panel)
    elif isinstance(panel, Table):
        drawn = _table(panel)
    else:
        drawn = _spans(panel)
    drawn.id(number)
    drawn.title(panel.title)
    drawn.description(panel.about)
    drawn.span(panel.width)
    drawn.height(panel.height)
    drawn.unit(panel.unit)
    drawn.no_value(panel.empty)
    drawn.thresholds(_thresholds(panel.steps))
    return drawn


def _stat(panel: Stat) -> stat.Panel:
    drawn = stat.Panel()
    drawn.datasource(_PROMETHEUS)
    for name, query in _named(panel.queries):
        drawn.with_target(_now(name, query))
        if query.steps:
            drawn.override_by_query(name, [_limits(query.steps)])
    if panel.texts:
        drawn.mappings([_texts(panel.texts)])
    calculated = common_builders.ReduceDataOptions()
    calculated.calcs(["lastNotNull"])
    drawn.reduce_options(calculated)
    drawn.color_scheme(_coloured(dashboard.FieldColorModeId.THRESHOLDS))
    loud, quiet = common.BigValueColorMode.BACKGROUND, common.BigValueColorMode.VALUE
    drawn.color_mode(loud if panel.loud else quiet)
    drawn.graph_mode(common.BigValueGraphMode.NONE)
    several = len(panel.queries) > 1
    named, alone = common.BigValueTextMode.VALUE_AND_NAME, common.BigValueTextMode.VALUE
    drawn.text_mode(named if several else alone)
    return drawn


def _series(panel: Series) -> timeseries.Panel:
    drawn = timeseries.Panel()
    drawn.datasource(_PROMETHEUS)
    for name, query in _named(panel.queries):
        target = _target(name, query)
        target.range()
        if query.exemplar:
            target.exemplar(True)
        drawn.with_target(target)
    drawn.min(0)
    if panel.most is not None:
        drawn.max(panel.most)
    drawn.color_scheme(_coloured(dashboard.FieldColorModeId.PALETTE_CLASSIC))
    drawn.fill_opacity(20 if panel.stacked else 5)
    drawn.show_points(common.VisibilityMode.AUTO)  # a leak may be one point
    if panel.stacked:
        stacking = common_builders.StackingConfig()
        stacking.mode(common.StackingMode.NORMAL)
        drawn.stacking(stacking)
    if len(panel.steps) > 1:
        style = common_builders.GraphThresholdsStyleConfig()
        style.mode(common.GraphThresholdsStyleMode.DASHED)
        drawn.thresholds_style(style)
    legend = common_builders.VizLegendOptions()
    legend.display_mode(common.LegendDisplayMode.TABLE)
    legend.placement(common.LegendPlacement.BOTTOM)
    legend.show_legend(True)
    legend.calcs(["lastNotNull", "max"])
    drawn.legend(legend)
    tooltip = common_builders.VizTooltipOptions()
    tooltip.mode(common.TooltipDisplayMode.MULTI)
    tooltip.sort(common.SortOrder.DESCENDING)
    drawn.tooltip(tooltip)
    return drawn


def _table(panel: Table) -> table.Panel:
    drawn = table.Panel()
    drawn.datasource(_PROMETHEUS)
    titles = dict(panel.labels)
    for (name, query), column in zip(_named(panel.queries), panel.values, strict=True):
        target = _now(name, query)
        target.format(PromQueryFormat.TABLE)
        drawn.with_target(target)
        titles[f"Value #{name}"] = column.title
        drawn.override_by_name(column.title, list(_properties(column)))
    # The answers side by side: rows with the same labels become one.
    drawn.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    order = {field: place for place, field in enumerate(titles)}
    arrange = {
        "excludeByName": {"Time": True},
        "renameByName": titles,
        "indexByName": order,
    }
    drawn.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=arrange))
    first = common_builders.TableSortByFieldState()
    first.display_name(panel.sort)
    first.desc(panel.sort not in panel.labels.values())
    drawn.sort_by([first])
    drawn.filterable(True)
    drawn.color_scheme(_coloured(dashboard.FieldColorModeId.THRESHOLDS))
    return drawn


def _spans(panel: Panel) -> table.Panel:
    drawn = table.Panel()
    drawn.datasource(_TEMPO)
    for name, query in _named(panel.queries):
        target = tempo.Dataquery()
        target.datasource(_TEMPO)
        target.ref_id(name)
        target.query_type(TempoQueryType.TRACEQL)
        target.query(query.expr)
        target.table_type(SearchTableType.SPANS)
        target.limit(100)
        drawn.with_target(target)
    return drawn


# --- their parts ------------------------------------------------------------------------------


def _named(queries: tuple[Query, ...]) -> Iterator[tuple[str, Query]]:
    return zip("ABCDEFGHIJ", queries, strict=False)


def _target(name: str, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery()
    target.datasource(_PROMETHEUS)
    target.ref_id(name)
    target.expr(query.expr)
    if query.legend:
        target.legend_format(query.legend)
    return target


def _now(name: str, query: Query) -> prometheus.Dataquery:
    target = _target(name, query)
    target.instant()
    return target


def _steps(steps: Steps) -> list[dashboard.Threshold]:
    return [dashboard.Threshold(value=value, color=color) for value, color in steps]


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    limits = builders.ThresholdsConfig()
    limits.mode(dashboard.ThresholdsMode.ABSOLUTE)
    limits.steps(_steps(steps))
    return limits


def _limits(steps: Steps) -> dashboard.DynamicConfigValue:
    config = dashboard.ThresholdsConfig(dashboard.ThresholdsMode.ABSOLUTE, _steps(steps))
    return dashboard.DynamicConfigValue("thresholds", config)


def _texts(texts: dict[int, tuple[str, str]]) -> dashboard.ValueMap:
    shown = enumerate(texts.items())
    return dashboard.ValueMap(
        {
            str(value): dashboard.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in shown
        }
    )


def _coloured(mode: dashboard.FieldColorModeId) -> builders.FieldColor:
    colour = builders.FieldColor()
    colour.mode(mode)
    return colour


def _properties(column: Column) -> Iterator[dashboard.DynamicConfigValue]:
    if column.unit:
        yield dashboard.DynamicConfigValue("unit", column.unit)
    if column.texts:
        yield dashboard.DynamicConfigValue("mappings", [_texts(column.texts)])
    if column.steps:
        yield _limits(column.steps)
        yield dashboard.DynamicConfigValue("custom.cellOptions", common.TableColorTextCellOptions())
