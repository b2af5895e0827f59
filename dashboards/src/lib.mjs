// Shared parts of the three dashboards: panels, variables, links, colours.

export const SCHEMA_VERSION = 38; // Grafana 10.0. A newer Grafana migrates it, an older one does not

// Colours for colour-blind people: from blue over yellow to dark red, alternately lighter and
// darker (tests/dashboards/colours.mjs). Every colour is shown with a text.
export const C = { normal: '#2E7EBC', monitor: '#A6D0F0', warning: '#FBE37A', cleanup: '#F59A23', emergency: '#D02F3A', fatal: '#5B1150', unknown: '#8A8F98' };

// The tiers. The index is the value of the recorded series session:baileys_auth_tier:rank.
export const TIERS = ['normal', 'monitor', 'warning', 'cleanup', 'emergency', 'fatal'].map((name) => [name, C[name]]);

export const UIDS = { fleet: 'baileys-fleet', session: 'baileys-session', remediation: 'baileys-remediation' };

// Label selectors. The exporter and the remediator are different scrape targets: `job` and
// `instance` are the exporter's, `remediator` is the remediator's instance. Queries join the two on
// the session and the host, which is the instance without its port.
export const TARGET = 'job=~"$job",instance=~"$instance"';
export const SESSIONS = `${TARGET},session=~"$session"`;
export const ONE_SESSION = 'job=~"$job",instance="$instance",session="$session"';
export const REMEDIATOR = 'instance=~"$remediator"';
/** The remediator on the host of the selected instance. */
export const REMEDIATOR_HERE = 'instance=~"${host}(:[0-9]+)?"';
/** The same with a label `host`. */
export const withHost = (expr) => `label_replace(${expr}, "host", "$1", "instance", "(.+?)(:[0-9]+)?")`;

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

// ---- Values and colours ----

export const steps = (...pairs) => ({
  mode: 'absolute',
  steps: pairs.map(([value, color]) => ({ value, color })),
});
export const plain = (color = 'text') => steps([null, color]);
/** Values from `from` on need a person. 0 has no colour, because it may mean that there is no data. */
export const none = (color = C.emergency, from = 1) => steps([null, 'text'], [from, color]);

/** Texts and colours for numbers: words({0: ['broken', C.emergency], …}). */
export const words = (entries) => [
  {
    type: 'value',
    options: Object.fromEntries(
      Object.entries(entries).map(([value, [text, color]], index) => [value, { text, ...(color && { color }), index }]),
    ),
  },
];
/** A text for all numbers from `value` on. */
export const from = (value, text, color) => [{ type: 'range', options: { from: value, to: null, result: { text, color, index: 90 } } }];
/** A text for a missing value or NaN. */
export const unknown = (text) => [{ type: 'special', options: { match: 'null+nan', result: { text, color: C.unknown, index: 99 } } }];
/** Added to the rank of a missing session (LOST), and of one whose exporter is down (UNSEEN). */
export const LOST = 10;
export const UNSEEN = 20;
export const TIER_WORDS = words(
  Object.fromEntries(
    TIERS.flatMap(([name, color], rank) => [
      [rank, [name, color]],
      [rank + LOST, [`lost, was ${name}`, C.unknown]],
      [rank + UNSEEN, [`unknown, was ${name}`, C.unknown]],
    ]),
  ),
);
export const LOGIN_WORDS = words({ '-1': ['unknown', C.unknown], 0: ['creds.json broken', C.emergency], 1: ['logged out', C.emergency], 2: ['ok', C.normal], 3: ['device removed', C.emergency] });
export const CONNECTION_WORDS = words({ '-1': ['unknown', C.unknown], 1: ['disconnected', C.cleanup], 2: ['unknown', C.unknown], 3: ['connected', C.normal] });
/** For tables and legends where the state is a label. */
export const CONNECTION_TEXTS = words({ disconnected: ['disconnected', C.cleanup], unknown: ['unknown', C.unknown], connected: ['connected', C.normal] });
export const STATUS_TEXTS = words({ done: ['done', C.normal], refused: ['refused', C.cleanup], failed: ['failed', C.emergency] });

// The threshold lines of every graph of accumulated files.
export const FILE_STEPS = steps([null, C.normal], [100, C.monitor], [120, C.warning], [150, C.cleanup], [180, C.emergency]);

// Values for the seconds until a number of files, if there is no forecast. They are larger than any
// forecast, so that a table sorts by urgency.
export const NOT_GROWING = 1e9;
export const NOT_KNOWN = 2e9;
export const UNTIL = {
  unit: 's',
  decimals: 0,
  thresholds: steps([null, C.emergency], [6 * 3600, C.cleanup], [24 * 3600, 'text']),
  mappings: words({ 0: ['now', C.emergency], [NOT_GROWING]: ['not growing', C.unknown], [NOT_KNOWN]: ['unknown', C.unknown] }),
};

// Why a session is not cleaned, by the remediator's reason.
export const WHY = words({
  connected: ['the bot is connected'],
  connection_unknown: ['connection unknown: needs a probe'],
  nothing_removable: ['nothing may be moved: all is in use'],
  creds_broken: ['creds.json is broken'],
  dormant: ['no chat was active within 14 days'],
  woke_recently: ['it has only just become active again'],
  service_cooldown: ['its process was restarted lately'],
  service_budget: ['its process was restarted too often today'],
  breaker_open: ['the circuit breaker is open'],
  paused: ['the remediator is paused'],
  locked: ['another program holds the folder'],
  filesystem: ['the file system does not allow it'],
  quarantine_full: ['the quarantine is full'],
  waits: ['waits until the bot stops'],
  none: ['no remediator on this host', C.cleanup],
  early: ['below the clean-up tier'],
  due: ['a clean-up is due'],
});

// ---- Queries ----

/** A range query for a graph. */
export const range = (expr, legend, more = {}) => ({ expr: tidy(expr), legendFormat: legend, range: true, instant: false, ...more });
/** The value at the end of the time range. */
export const now = (expr, legend = '__auto', more = {}) => ({ expr: tidy(expr), legendFormat: legend, range: false, instant: true, ...more });
/** The same as rows. */
export const rows = (expr) => now(expr, '__auto', { format: 'table' });
const tidy = (expr) => expr.replace(/\s*\n\s*/g, ' ').trim();

// ---- Panels ----

const panel = (type, title, description, targets, { unit, thresholds, mappings = [], overrides = [], custom, defaults = {}, options, links, interval, transformations, maxDataPoints } = {}) => ({
  type,
  title,
  description,
  datasource: DATASOURCE,
  targets: targets.map((target, i) => ({ refId: String.fromCharCode(65 + i), datasource: DATASOURCE, editorMode: 'code', ...target })),
  fieldConfig: {
    defaults: { unit, mappings, thresholds: thresholds ?? plain(), ...defaults, ...(custom && { custom }) },
    overrides,
  },
  options,
  ...(links && { links }),
  ...(interval && { interval }),
  ...(maxDataPoints && { maxDataPoints }),
  ...(transformations && { transformations }),
});

const reduce = { calcs: ['lastNotNull'], fields: '', values: false };

/** Numbers, coloured by their thresholds. */
// With `isState` the value is a text on its colour.
export const stat = (title, description, targets, more = {}) =>
  panel('stat', title, description, targets, {
    unit: 'none',
    ...more,
    defaults: { color: { mode: 'thresholds' }, decimals: 0, ...more.defaults },
    options: {
      colorMode: more.isState ? 'background_solid' : 'value',
      graphMode: 'none',
      justifyMode: 'center',
      orientation: 'vertical',
      percentChangeColorMode: 'standard',
      reduceOptions: reduce,
      showPercentChange: false,
      textMode: targets.length > 1 ? 'value_and_name' : 'value',
      wideLayout: false,
      // Several values in a small panel: keep the names readable.
      ...(targets.length > 1 && { text: { titleSize: 11 } }),
      ...more.options,
    },
  });

export const timeseries = (title, description, targets, more = {}) =>
  panel('timeseries', title, description, targets, {
    unit: 'short',
    ...more,
    defaults: { color: { mode: 'palette-classic' }, min: 0, ...more.defaults },
    custom: {
      axisBorderShow: false,
      axisCenteredZero: false,
      axisColorMode: 'text',
      axisLabel: '',
      axisPlacement: 'auto',
      barAlignment: 0,
      barWidthFactor: 0.8,
      drawStyle: 'line',
      fillOpacity: 0,
      gradientMode: 'none',
      hideFrom: { legend: false, tooltip: false, viz: false },
      insertNulls: false,
      lineInterpolation: 'linear',
      lineWidth: 1,
      pointSize: 4,
      scaleDistribution: { type: 'linear' },
      showPoints: 'never',
      spanNulls: false,
      stacking: { group: 'A', mode: 'none' },
      thresholdsStyle: { mode: 'off' },
      ...more.custom,
    },
    options: {
      legend: { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true, ...more.legend },
      tooltip: { mode: 'multi', sort: 'desc', hideZeros: true, maxHeight: 400 },
      ...more.options,
    },
  });

/** Stacked areas. */
export const STACKED = { fillOpacity: 70, lineWidth: 0, stacking: { group: 'A', mode: 'normal' } };
/** Events, with one bar for each interval. */
export const BARS = { drawStyle: 'bars', fillOpacity: 80, lineWidth: 0, stacking: { group: 'A', mode: 'normal' } };
/** Lines of the thresholds. */
export const DASHED = { thresholdsStyle: { mode: 'dashed' } };
export const TABLE_LEGEND = (...calcs) => ({ displayMode: 'table', placement: 'right', calcs, sortBy: LEGEND_NAMES[calcs[0]], sortDesc: true });
const LEGEND_NAMES = { lastNotNull: 'Last *' };

export const stateTimeline = (title, description, targets, more = {}) =>
  panel('state-timeline', title, description, targets, {
    unit: 'short',
    ...more,
    defaults: { color: { mode: 'thresholds' }, ...more.defaults },
    custom: { fillOpacity: 80, hideFrom: { legend: false, tooltip: false, viz: false }, lineWidth: 0, ...more.custom },
    options: {
      alignValue: 'left',
      legend: { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true },
      mergeValues: true,
      rowHeight: 0.9,
      showValue: 'auto',
      tooltip: { mode: 'single', sort: 'none' },
      ...more.options,
    },
  });

export const bargauge = (title, description, targets, more = {}) =>
  panel('bargauge', title, description, targets, {
    unit: 'none',
    ...more,
    defaults: { color: { mode: 'thresholds' }, min: 0, decimals: 0, ...more.defaults },
    options: {
      displayMode: 'lcd',
      legend: { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: false },
      maxVizHeight: 30,
      minVizHeight: 16,
      minVizWidth: 8,
      namePlacement: 'left',
      orientation: 'horizontal',
      reduceOptions: reduce,
      showUnfilled: true,
      sizing: 'auto',
      valueMode: 'color',
      ...more.options,
    },
  });

/**
 * One row for each set of labels, joined over all queries. Columns are
 * [name in the frame, name shown, settings].
 */
export const table = (title, description, targets, { columns, hidden = [], sortBy, desc = true, ...more }) => {
  const order = columns.map(([name]) => name);
  const rename = (name, shown) => (name === shown ? [] : [[name, shown]]);
  return panel('table', title, description, targets, {
    unit: 'none',
    ...more,
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, filterable: false },
    options: {
      cellHeight: 'sm',
      frameIndex: 0,
      showHeader: true,
      enablePagination: true,
      // Grafana up to 12 reads the pagination here.
      footer: { countRows: false, enablePagination: true, fields: [], reducer: ['sum'], show: false },
      sortBy: [sortBy].flat().map((by) => (typeof by === 'string' ? { displayName: by, desc } : by)),
    },
    transformations: [
      ...(targets.length > 1 ? [{ id: 'merge', options: {} }] : []),
      {
        id: 'organize',
        options: {
          excludeByName: Object.fromEntries(['Time', '__name__', 'job', ...hidden].map((name) => [name, true])),
          includeByName: {},
          indexByName: Object.fromEntries(order.map((name, index) => [name, index])),
          renameByName: Object.fromEntries(columns.flatMap(([name, shown]) => rename(name, shown))),
        },
      },
    ],
    overrides: columns
      .filter(([, , settings]) => settings)
      .map(([, shown, settings]) => ({ matcher: { id: 'byName', options: shown }, properties: properties(settings) })),
  });
};

/** Settings of one column or series: {unit: 's', 'custom.width': 90}. */
export const properties = (settings) => Object.entries(settings).map(([id, value]) => ({ id, value }));
export const override = (name, settings) => ({ matcher: { id: 'byName', options: name }, properties: properties(settings) });
export const overrideMatching = (regex, settings) => ({ matcher: { id: 'byRegexp', options: regex }, properties: properties(settings) });
export const fixed = (color) => ({ color: { mode: 'fixed', fixedColor: color } });

/**
 * A series that is recorded every five minutes. Prometheus looks back five minutes too, so the
 * plain series would have gaps until the next sample is written.
 */
export const slow = (series) => `last_over_time(${series}[10m])`;

/** Link to the dashboard of one session. */
export const sessionLink = {
  title: 'This session in depth',
  url: `/d/${UIDS.session}?\${__url_time_range}&var-datasource=\${datasource}&var-session=\${__value.text}`,
  targetBlank: false,
};
/** The same for a row with a column Host, because two hosts may have a session of one name. */
export const sessionOfInstanceLink = { ...sessionLink, url: `${sessionLink.url}&var-instance=\${__data.fields.Host}` };

/** Link to the remediator's runs, for a row with a column Session. */
export const remediationLink = {
  title: 'Runs and refusals',
  url: `/d/${UIDS.remediation}?\${__url_time_range}&var-datasource=\${datasource}&var-session=\${__data.fields.Session}`,
  targetBlank: false,
};

// ---- Dashboards ----

const query = (name, label, description, expr, more = {}) => ({
  allValue: '.+',
  current: { selected: true, text: ['All'], value: ['$__all'] },
  datasource: DATASOURCE,
  definition: expr,
  description,
  hide: 0,
  includeAll: true,
  label,
  multi: true,
  name,
  options: [],
  query: { query: expr, refId: 'PrometheusVariableQueryEditor-VariableQuery' },
  refresh: 2,
  regex: '',
  skipUrlSync: false,
  sort: 1,
  type: 'query',
  ...more,
});

const PLACE = 'cluster=~"$cluster",namespace=~"$namespace"';
const one = { multi: false, includeAll: false, allValue: undefined, current: {} };

const DATASOURCE_VARIABLE = {
  current: {},
  hide: 0,
  includeAll: false,
  label: 'Data source',
  multi: false,
  name: 'datasource',
  options: [],
  query: 'prometheus',
  refresh: 1,
  regex: '',
  skipUrlSync: false,
  type: 'datasource',
};

// The values of the last days, whatever the time range, so that an exporter that is down stays in
// the lists. `label_values` lists only values with a series in the time range.
const lately = (labels, expr) => `query_result(group by (${labels}) (${expr}))`;
const EXPORTER_JOBS = 'last_over_time(instance:baileys_auth_sessions:count[7d]) or on (job) baileys_auth_folder_up';
// `up` also exists for a target that is down, and has the labels of a cluster. An exporter that is
// no target any more is listed for 6 hours, in every cluster.
const EXPORTERS = `up{job=~"$job",${PLACE}} and on (job) (${EXPORTER_JOBS}) or last_over_time(instance:baileys_auth_sessions:count{job=~"$job"}[6h]) unless on (job, instance) up{job=~"$job"}`;
const sessionsOf = (more = '') => `(last_over_time(session:baileys_auth_tier:rank5m{job=~"$job"${more}}[7d]) or baileys_auth_folder_up{job=~"$job"${more}}) and on (job, instance) (${EXPORTERS})`;
/** The label's value in an answer of query_result, `{label="value"} 1 1700000000000`. */
const only = (label, value = '.+', rest = '') => ({ regex: `/^\\{${label}="(${value})${rest}"\\} /` });

/** Without a choice everything matches, also series without the label. */
const optional = (name, label, description) => query(name, label, description, lately(name, `up{${name}!=""} and on (job) (${EXPORTER_JOBS})`), { allValue: '.*', ...only(name) });

// `All` instances is a list of them: recorded series have no cluster and no namespace, so a choice
// of these filters the list of instances.
export const variables = ({ oneSession = false } = {}) => {
  const head = [
    DATASOURCE_VARIABLE,
    optional('cluster', 'Cluster', 'The label `cluster`, where the series have one.'),
    optional('namespace', 'Namespace', 'The label `namespace`, where the series have one.'),
    query('job', 'Job', 'Scrape job of the exporters.', lately('job', `up{${PLACE}} and on (job) (${EXPORTER_JOBS})`), only('job')),
  ];
  return oneSession
    ? [
        ...head,
        // A single choice is used literally, not as a regular expression.
        query('session', 'Session', 'Auth folder, seen within 7 days.', lately('session', sessionsOf()), { ...one, ...only('session') }),
        query('instance', 'Host', 'The exporter that watches it. Two hosts may have a session of one name: choose one of them.', lately('instance', sessionsOf(',session="$session"')), { ...one, ...only('instance') }),
        query('host', 'Host name', 'The host without its port: the remediator on it.', 'query_result(label_replace(vector(1), "host", "$instance", "", ""))', { ...one, hide: 2, ...only('host', '.+?', '(?::[0-9]+)?') }),
      ]
    : [
        ...head,
        query('instance', 'Host', 'Exporters, one a host, those that are down too.', lately('instance', EXPORTERS), { allValue: undefined, ...only('instance') }),
        query('session', 'Session', 'Auth folders, seen within 7 days.', lately('session', sessionsOf(',instance=~"$instance"')), only('session')),
        query('remediator', 'Remediator', 'Remediators, one a host.', `label_values(baileys_remediator_build_info{${PLACE}}, instance)`, { allValue: undefined }),
      ];
};

/** Vertical lines for clean-ups and removed devices. */
const annotations = (sessions, remediator) => {
  const cleaned = `baileys_remediator_last_cleanup_timestamp_seconds{${remediator}}`;
  // The alert fires until the bot is connected or paired again. Its series exists only while it
  // fires, so this query is cheap.
  const removed = `ALERTS{alertname="BaileysDeviceRemoved",alertstate="firing",${sessions}}`;
  const line = (name, iconColor, expr, more) => ({
    name,
    datasource: DATASOURCE,
    enable: true,
    hide: false,
    iconColor,
    expr,
    step: '60s',
    tagKeys: 'session',
    titleFormat: name,
    textFormat: '{{session}}',
    useValueForTime: false,
    target: { expr, refId: 'Anno', interval: '60s', range: true, instant: false, legendFormat: '{{session}}' },
    ...more,
  });
  return [
    {
      builtIn: 1,
      datasource: { type: 'grafana', uid: '-- Grafana --' },
      enable: true,
      hide: true,
      iconColor: 'rgba(0, 211, 255, 1)',
      name: 'Annotations & Alerts',
      type: 'dashboard',
    },
    // The value is the time, so that the line is at the end of the run and not at the next scrape.
    // Only runs that ended within a step, so that 500 sessions give few points. $__rate_interval
    // is one scrape longer than a step, so that no run is missed.
    line('Clean-up', 'semi-dark-blue', `(${cleaned} > time() - $__rate_interval_ms / 1000) * 1000`, { useValueForTime: true }),
    line('Device removed', 'dark-red', `max_over_time(${removed}[$__rate_interval])`),
  ];
};

/**
 * Arranges the panels. `layout` is a list of rows: {title?, height, panels:
 * [[width, panel], …]}. A row with `collapsed` is closed at first, together with the rows without
 * a title that follow it.
 */
export function dashboard({ uid, title, description, from, layout, oneSession = false, refresh = '1m' }) {
  const panels = [];
  let y = 0;
  let id = 1;
  let closed = null;
  for (const row of layout) {
    if (row.title) {
      const head = { id: id++, type: 'row', title: row.title, collapsed: Boolean(row.collapsed), gridPos: { h: 1, w: 24, x: 0, y }, panels: [] };
      panels.push(head);
      y += 1;
      // The next row follows directly below a closed one. Its panels have positions as if it were open.
      closed = row.collapsed ? { panels: head.panels, y } : null;
    }
    const into = closed ?? { panels, y };
    let x = 0;
    for (const [w, body] of row.panels) {
      into.panels.push({ id: id++, ...body, gridPos: { h: row.height, w, x, y: into.y } });
      x += w;
    }
    if (closed) {
      closed.y += row.height;
    } else {
      y += row.height;
    }
  }
  return {
    annotations: { list: oneSession ? annotations(ONE_SESSION, `${REMEDIATOR_HERE},session="$session"`) : annotations(SESSIONS, `${REMEDIATOR},session=~"$session"`) },
    description,
    editable: false,
    fiscalYearStartMonth: 0,
    graphTooltip: 1,
    id: null,
    links: [
      {
        asDropdown: false,
        icon: 'external link',
        includeVars: true,
        keepTime: true,
        tags: ['baileys'],
        targetBlank: false,
        title: 'Baileys',
        tooltip: 'The other dashboards of Baileys bots, with the same time and choices',
        type: 'dashboards',
        url: '',
      },
    ],
    panels,
    preload: false,
    refresh,
    schemaVersion: SCHEMA_VERSION,
    tags: ['baileys', 'whatsapp'],
    templating: { list: variables({ oneSession }) },
    time: { from, to: 'now' },
    timepicker: {},
    timezone: 'browser',
    title,
    uid,
    version: 1,
    weekStart: '',
  };
}
