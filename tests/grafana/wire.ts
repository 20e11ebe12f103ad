// SPDX-License-Identifier: Apache-2.0
//
// Grafana's published types as they look in JSON, where an enumeration is one of its values. Each
// part of a dashboard has the type of its own kind, so that a misspelt key is an error there.
// Of a Prometheus and a Tempo query no type is published; theirs are here, as Grafana's editors
// write them.

import type * as g from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as series from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Wire<T> = T extends string
  ? `${T}`
  : T extends number
    ? number extends T
      ? number
      : `${T}` extends `${infer N extends number}`
        ? N
        : never
    : T extends boolean | null | undefined
      ? T
      : T extends (infer U)[]
        ? Wire<U>[]
        : T extends object
          ? { [K in keyof T]: Wire<T[K]> }
          : T;

type Source = { type: "prometheus"; uid: "${datasource}" };
type Traces = { type: "tempo"; uid: "${traces}" };

type PromQuery = {
  datasource?: Source;
  refId: string;
  expr: string;
  range: boolean;
  instant: boolean;
  exemplar?: boolean;
  format?: "time_series" | "table";
  legendFormat?: string;
};
type TempoQuery = {
  datasource: Traces;
  refId: string;
  queryType: "traceql";
  query: string;
  tableType: "spans" | "traces";
  limit: number;
  filters: never[];
};

type Property =
  | { id: "unit"; value: string }
  | { id: "thresholds"; value: Wire<g.ThresholdsConfig> }
  | { id: "mappings"; value: Wire<g.ValueMapping>[] }
  | { id: "custom.cellOptions"; value: Wire<g.TableCellOptions> };
type Override = {
  matcher: { id: "byName" | "byFrameRefID"; options: string };
  properties: Property[];
};
type Transformation =
  | { id: "merge"; options: {} }
  | {
      id: "organize";
      options: {
        excludeByName: Record<string, boolean>;
        renameByName: Record<string, string>;
        indexByName: Record<string, number>;
      };
    };

type Defaults<Custom> = Wire<Omit<g.FieldConfig, "custom">> & { custom?: Partial<Wire<Custom>> };
type Drawn<Kind extends string, Options, Custom, Query, From> = Wire<
  Omit<g.Panel, "type" | "options" | "fieldConfig" | "targets" | "datasource" | "transformations">
> & {
  // What Grafana leaves open, every panel of ours has.
  type: Kind;
  title: string;
  description: string;
  datasource: From;
  targets: Query[];
  options?: Partial<Wire<Options>>;
  fieldConfig: {
    defaults: Defaults<Custom> & { unit: string; noValue: string };
    overrides: Override[];
  };
  transformations?: Transformation[];
};
type Panel =
  | Drawn<"stat", stat.Options, {}, PromQuery, Source>
  | Drawn<"timeseries", series.Options, series.FieldConfig, PromQuery, Source>
  | Drawn<"table", table.Options, table.FieldConfig, PromQuery, Source>
  | Drawn<"table", table.Options, table.FieldConfig, TempoQuery, Traces>;
type Row = Wire<Omit<g.RowPanel, "panels">> & { type: "row"; panels: Panel[] };

export type Document = Wire<Omit<g.Dashboard, "panels" | "annotations" | "templating">> & {
  panels: (Panel | Row)[];
  templating: { list: Wire<g.VariableModel>[] };
  annotations: {
    list: (Wire<Omit<g.AnnotationQuery, "target" | "datasource">> & {
      datasource: Source;
      target: PromQuery;
    })[];
  };
};
