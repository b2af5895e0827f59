// A dashboard's JSON as Grafana's own published code draws it (@grafana/scenes, @grafana/ui),
// with a data source that asks the Prometheus behind /prom. What Grafana keeps to itself
// (services, registries) is stubbed below.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  createTheme,
  standardTransformers,
  standardTransformersRegistry,
  standardFieldConfigEditorRegistry,
  standardEditorsRegistry,
  DataSourceApi,
  FieldType,
  LoadingState,
  EventBusSrv,
  ThemeContext,
  PluginType,
  DataFrameType,
} from '@grafana/data';
import {
  config,
  setDataSourceSrv,
  setPluginImportUtils,
  setRunRequest,
  setEchoSrv,
  setTemplateSrv,
  setBackendSrv,
  setAppEvents,
  setLocationSrv,
  setPluginLinksHook,
  setPluginComponentsHook,
  setPluginComponentHook,
  setReturnToPreviousHook,
  setChromeHeaderHeightHook,
  setCurrentUser,
  locationService,
} from '@grafana/runtime';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { MemoryRouter } from 'react-router-dom';
import {
  EmbeddedScene,
  SceneGridLayout,
  SceneGridItem,
  SceneGridRow,
  VizPanel,
  SceneQueryRunner,
  SceneDataTransformer,
  SceneTimeRange,
  SceneVariableSet,
  DataSourceVariable,
  QueryVariable,
  VariableValueSelectors,
  SceneTimePicker,
  SceneRefreshPicker,
  SceneControlsSpacer,
  SceneDataLayerSet,
  dataLayers,
  SceneDataLayerControls,
  behaviors,
  sceneGraph,
} from '@grafana/scenes';
import { from, of } from 'rxjs';
import { map, catchError } from 'rxjs/operators';

import { panels, fieldConfigEditors } from './panels';
const PROM = '/prom';
const Q = new URLSearchParams(location.search);
for (const [id, p] of Object.entries(panels)) {
  p.meta = { id, name: id, type: PluginType.panel, info: { version: '12.0.0' }, module: '', baseUrl: '', sort: 1, skipDataQuery: false };
  (config.panels as any)[id] = p.meta;
}

const log: any[] = [];
(window as any).__queries = log;
const dur = (ms: number) => `${Math.max(1, Math.round(ms / 1000))}s`;
// For panels.tsx: scenes passes them on to some panels only, as the answers happen to come.
const annotations = new Map<string, any>();
(window as any).__annotations = annotations;
const subst = (s: string, vars: Record<string, string>) =>
  s.replace(/\$__rate_interval_ms|\$__rate_interval|\$__interval_ms|\$__interval|\$__range_s|\$__range/g, (m) => vars[m]);

class PromDS extends DataSourceApi<any, any> {
  annotations = {
    prepareQuery: (a: any) => a.target,
    processEvents: (a: any, frames: any[]) =>
      of(
        frames
          .flatMap((f) =>
            f.fields[0].values
              .map((time: number, i: number) => ({
                v: f.fields[1].values[i],
                time: a.useValueForTime ? f.fields[1].values[i] : time,
                text: f.fields[1].labels?.session,
              }))
              // One line where it begins; Grafana shades the rest.
              .filter((e: any, i: number, all: any[]) => e.v > 0 && (a.useValueForTime || !(all[i - 1]?.v > 0))),
          )
          .map((e: any) => ({ time: e.time, text: e.text, color: a.iconColor, source: a }))
          .map((e: any) => (annotations.set(`${a.name} ${e.text} ${e.time}`, e), e)),
      ),
  } as any;
  constructor() {
    super({
      id: 1,
      uid: 'prom',
      name: 'Prometheus',
      type: 'prometheus',
      meta: { id: 'prometheus', name: 'Prometheus', type: PluginType.datasource, info: { logos: {} } },
      jsonData: {},
      access: 'proxy',
      readOnly: true,
    } as any);
  }
  query(req: any): any {
    (window as any).__pending = ((window as any).__pending ?? 0) + 1;
    return from(this.run(req).finally(() => ((window as any).__pending -= 1)));
  }
  async run(req: any) {
    const start = req.range.from.valueOf() / 1000,
      end = req.range.to.valueOf() / 1000;
    const data: any[] = [];
    for (const t of req.targets) {
      const step = Math.max(60, req.intervalMs / 1000, Math.ceil((end - start) / Math.min(req.maxDataPoints ?? 500, 500)));
      const v = {
        $__interval: dur(step * 1000),
        $__interval_ms: String(step * 1000),
        $__rate_interval: dur(Math.max(step + 60, 240) * 1000),
        $__rate_interval_ms: String(Math.max(step + 60, 240) * 1000),
        $__range: dur((end - start) * 1000),
        $__range_s: String(Math.round(end - start)),
      };
      // As in Grafana, the intervals are those of the step and not of the scene.
      const { __interval, __interval_ms, ...scoped } = req.scopedVars ?? {};
      const expr = subst((window as any).__interp(t.expr, scoped), v);
      // POST, as Grafana: the names of 40 hosts in a query are too long for a URL.
      const body = new URLSearchParams({ query: expr, ...(t.instant ? { time: String(end) } : { start: String(start), end: String(end), step: String(step) }) });
      const r = await (await fetch(`${PROM}/api/v1/${t.instant ? 'query' : 'query_range'}`, { method: 'POST', body })).json();
      log.push({ expr, status: r.status, error: r.error, n: r.data?.result?.length ?? 0, annotation: t.refId === 'Anno' });
      if (r.status !== 'success') throw new Error(r.error);
      const res = r.data.resultType === 'scalar' ? [{ metric: {}, value: r.data.result }] : r.data.result;
      if (t.format === 'table') {
        const names = [...new Set(res.flatMap((s: any) => Object.keys(s.metric)))].filter((n) => n !== '__name__').sort() as string[];
        const rows = res.flatMap((s: any) => (s.values ?? [s.value]).map((x: any) => ({ m: s.metric, t: x[0] * 1000, v: +x[1] })));
        data.push({
          refId: t.refId,
          meta: { preferredVisualisationType: 'table' },
          length: rows.length,
          fields: [
            { name: 'Time', type: FieldType.time, config: {}, values: rows.map((x: any) => x.t) },
            ...names.map((n) => ({ name: n, type: FieldType.string, config: { filterable: true }, values: rows.map((x: any) => x.m[n] ?? '') })),
            { name: `Value #${t.refId}`, type: FieldType.number, config: {}, values: rows.map((x: any) => x.v) },
          ],
        });
      } else {
        const frames = res.map((s: any) => {
          const { __name__, ...labels } = s.metric;
          let name =
            t.legendFormat && t.legendFormat !== '__auto'
              ? t.legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_: string, k: string) => s.metric[k] ?? '')
              : Object.keys(labels).length
                ? `{${Object.entries(labels)
                    .map(([k, v]) => `${k}="${v}"`)
                    .join(', ')}}`
                : expr;
          let pts = s.values ?? [s.value];
          if (!t.instant) {
            const m = new Map(pts.map((p: any) => [Math.round(p[0]), p[1]]));
            pts = [];
            for (let x = start; x <= end + 0.5; x += step) {
              const k = Math.round(x);
              pts.push([x, m.get(k) ?? null]);
            }
            if (!pts.some((p: any) => p[1] !== null)) pts = s.values;
          }
          return {
            refId: t.refId,
            name,
            meta: { type: DataFrameType.TimeSeriesMulti },
            length: pts.length,
            fields: [
              { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: pts.map((p: any) => p[0] * 1000) },
              {
                name: 'Value',
                type: FieldType.number,
                labels,
                config: { displayNameFromDS: name },
                values: pts.map((p: any) => (p[1] === null ? null : +p[1])),
              },
            ],
          };
        });
        data.push(...frames);
      }
    }
    return { data, state: LoadingState.Done };
  }
  async metricFindQuery(q: any, options: any) {
    const s = (window as any).__interp(typeof q === 'string' ? q : q.query);
    const result = s.match(/^query_result\((.+)\)$/);
    if (result) {
      const query = new URLSearchParams({ query: result[1], time: String(options.range.to.valueOf() / 1000) });
      const { data } = await (await fetch(`${PROM}/api/v1/query?${query}`)).json();
      // As Grafana writes it, for the variable's regular expression.
      const labels = (metric: any) => Object.entries(metric).map(([name, value]) => `${name}="${value}"`).join(',');
      return data.result.map(({ metric, value }: any) => ({ text: `{${labels(metric)}} ${value[1]} ${value[0] * 1e3}` }));
    }
    const m = s.match(/^label_values\((?:(.*),\s*)?([a-zA-Z_]\w*)\)$/s);
    const r = await (await fetch(`${PROM}/api/v1/label/${m[2]}/values${m[1] ? '?match[]=' + encodeURIComponent(m[1]) : ''}`)).json();
    return r.data.map((text: string) => ({ text }));
  }
  async testDatasource() {
    return { status: 'success', message: 'ok' };
  }
  getQueryDisplayText(q: any) {
    return q.expr;
  }
}
const ds = new PromDS();
const dsi: any = {
  ...ds.meta,
  id: 1,
  uid: 'prom',
  name: 'Prometheus',
  type: 'prometheus',
  meta: ds.meta,
  isDefault: true,
  jsonData: {},
  access: 'proxy',
  readOnly: true,
};
ds.getRef = () => ({ type: 'prometheus', uid: 'prom' });
setDataSourceSrv({ get: async () => ds, getList: () => [dsi], getInstanceSettings: () => dsi, reload() {}, registerRuntimeDataSource() {} } as any);
setPluginImportUtils({ importPanelPlugin: async (id: string) => panels[id], getPanelPluginFromCache: (id: string) => panels[id] });
setRunRequest(((d: any, req: any) =>
  d.query(req).pipe(
    map((r: any) => ({ state: LoadingState.Done, series: r.data, timeRange: req.range, annotations: [], request: req })),
    catchError((e: any) => {
      log.push({ expr: req.targets.map((t: any) => t.expr).join(' | '), status: 'error', error: String(e?.stack ?? e), n: 0, annotation: false });
      return of({ state: LoadingState.Error, series: [], timeRange: req.range, error: { message: String(e) }, errors: [{ message: String(e) }] });
    }),
  )) as any);
setEchoSrv({ addEvent() {}, flush() {}, addBackend() {} } as any);
setBackendSrv({ get: async () => ({}), fetch: () => of({ data: {} }) } as any);
setTemplateSrv({ replace: (s: string) => s, getVariables: () => [], containsTemplate: () => false, updateTimeRange() {} } as any);
setAppEvents(new EventBusSrv());
setLocationSrv(locationService as any);
setCurrentUser({} as any);
setPluginLinksHook(() => ({ links: [], isLoading: false }) as any);
setPluginComponentsHook(() => ({ components: [], isLoading: false }) as any);
setPluginComponentHook(() => ({ component: null, isLoading: false }) as any);
setReturnToPreviousHook(() => () => {});
setChromeHeaderHeightHook(() => 0);
standardTransformersRegistry.setInit(() =>
  [...new Map(Object.values(standardTransformers).map((t: any) => [t.id, t])).values()].map(
    (t: any) => ({ id: t.id, name: t.name, transformation: (async () => t) as any, editor: () => null }) as any,
  ),
);
standardEditorsRegistry.setInit(() => []);
standardFieldConfigEditorRegistry.setInit(fieldConfigEditors as any);

const theme = createTheme({ colors: { mode: (Q.get('theme') as any) ?? 'dark' } });
(config as any).theme2 = theme;
(config as any).theme = theme.v1;
(config as any).featureToggles = {};
(config as any).bootData = { user: { timezone: 'utc', weekStart: '' }, settings: {}, navTree: [] };

const chosen = (name: string) => Q.get(`var-${name}`) ?? undefined;

async function main() {
  const dash = await (await fetch(Q.get('dashboard') ?? '/dashboards/fleet.json')).json();
  const vars = dash.templating.list.map((v: any) =>
    v.type === 'datasource'
      ? new DataSourceVariable({ name: v.name, label: v.label, pluginId: v.query, value: 'prom', text: 'Prometheus' })
      : new QueryVariable({
          name: v.name,
          label: v.label,
          datasource: { type: 'prometheus', uid: 'prom' },
          query: v.query,
          regex: v.regex,
          hide: v.hide,
          refresh: v.refresh,
          isMulti: v.multi,
          includeAll: v.includeAll,
          allValue: v.allValue,
          ...(chosen(v.name)
            ? { value: chosen(v.name), text: chosen(v.name) }
            : v.includeAll
              ? { defaultToAll: true, value: ['$__all'], text: ['All'] }
              : {}),
        }),
  );
  const item = (p: any) => {
    const q = new SceneQueryRunner({
      datasource: { type: 'prometheus', uid: 'prom' },
      minInterval: p.interval,
      queries: (p.targets ?? []).map((t: any) => ({ ...t, datasource: { type: 'prometheus', uid: 'prom' } })),
    });
    return new SceneGridItem({
      x: p.gridPos.x,
      y: p.gridPos.y,
      width: p.gridPos.w,
      height: p.gridPos.h,
      key: `grid-${p.id}`,
      body: new VizPanel({
        key: `panel-${p.id}`,
        title: p.title,
        description: p.description,
        pluginId: p.type,
        pluginVersion: p.pluginVersion,
        options: p.options,
        fieldConfig: p.fieldConfig,
        $data: p.transformations ? new SceneDataTransformer({ $data: q, transformations: p.transformations }) : q,
      }),
    });
  };
  const kids: any[] = [];
  let row: any[] | null = null;
  for (const p of dash.panels) {
    if (p.type === 'row') {
      // A closed row has its panels in itself.
      row = p.panels.map(item);
      kids.push({ row: p, items: row });
    } else (row ?? (kids as any)).push(row ? item(p) : { item: item(p) });
  }
  const scene = new EmbeddedScene({
    $timeRange: new SceneTimeRange({ from: Q.get('from') ?? dash.time.from, to: Q.get('to') ?? dash.time.to, timeZone: 'utc' }),
    $variables: new SceneVariableSet({ variables: vars }),
    $behaviors: [new behaviors.CursorSync({ key: 'sync', sync: dash.graphTooltip ?? 0 })],
    $data: new SceneDataLayerSet({
      layers: dash.annotations.list
        .filter((a: any) => !a.builtIn)
        .map(
          (a: any) =>
            new dataLayers.AnnotationsDataLayer({
              name: a.name,
              isEnabled: a.enable,
              query: { ...a, datasource: { type: 'prometheus', uid: 'prom' }, target: { refId: 'Anno', expr: a.expr }, mappings: {} },
            }),
        ),
    }),
    controls: [
      new VariableValueSelectors({}),
      new SceneDataLayerControls(),
      new SceneControlsSpacer(),
      new SceneTimePicker({ isOnCanvas: true }),
      new SceneRefreshPicker({ refresh: '', isOnCanvas: true }),
    ],
    body: new SceneGridLayout({
      isLazy: false,
      children: kids.map((k) =>
        k.row
          ? new SceneGridRow({ title: k.row.title, isCollapsed: k.row.collapsed, y: k.row.gridPos.y, x: 0, isCollapsible: true, children: k.items })
          : k.item,
      ),
    }),
  });
  (window as any).__interp = (s: string, sv?: any) =>
    sceneGraph.interpolate(scene, s, sv, (v: any, m: any) => (Array.isArray(v) ? (v.length === 1 ? v[0] : `(${v.join('|')})`) : String(v)));
  (window as any).__scene = scene;
  scene.activate();
  const App = () => (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles isExtensionSidebarOpen={false} {...({} as any)} />
      <PortalContainer />
      <MemoryRouter>
        <div
          id="dash"
          style={{
            padding: 16,
            background: theme.colors.background.canvas,
            display: 'flex',
            flexDirection: 'column',
            height: Math.max(...dash.panels.map((p: any) => (p.gridPos.y + p.gridPos.h) * 38)) + 140,
            boxSizing: 'border-box',
          }}
        >
          <h1 style={{ fontSize: 20, margin: '0 0 12px' }}>{dash.title}</h1>
          <scene.Component model={scene} />
        </div>
      </MemoryRouter>
    </ThemeContext.Provider>
  );
  createRoot(document.getElementById('root')!).render(<App />);
}
main().catch((e) => {
  document.title = 'ERROR ' + e;
  console.error(e);
});
