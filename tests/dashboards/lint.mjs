// The rules of grafana/dashboard-linter, reimplemented because the linter needs Go, and our own.

import { C } from '../../dashboards/src/lib.mjs';

// Grafana prints an unknown unit as plain text after the number, so a typo would go unnoticed.
const UNITS = ['none', 'short', 'percentunit', 'bytes', 's', 'h', 'dateTimeFromNow', 'suffix: d', 'suffix: h'];
const WIDTH = 24;

/** All panels, including those in closed rows. */
export const real = (dashboard) => dashboard.panels.flatMap((panel) => (panel.type === 'row' ? panel.panels : [panel]));
const targets = (dashboard) => real(dashboard).flatMap((panel) => panel.targets.map((target) => ({ panel, target })));
const variable = (dashboard, name) => dashboard.templating.list.find((found) => found.name === name);
const where = ({ panel, target }) => `«${panel.title}» ${target.refId}`;

/** The selectors of a query: [{metric, matchers, range}]. */
export function selectors(expr) {
  const found = [];
  for (const [, metric, matchers = '', window] of expr.matchAll(/\b(ALERTS(?:_FOR_STATE)?|up(?=\{)|(?:session:|instance:)?baileys_[a-z0-9_:]+)(?:\{((?:"[^"]*"|[^}"])*)\})?(?:\[([^\]]+)\])?/g)) {
    found.push({ metric, matchers, range: window });
  }
  return found;
}

/** For each rule its name, and the parts of a dashboard that break it. */
export const RULES = {
  'a uid, a title, a description, tags, no edits': (d) =>
    [/^baileys-[a-z]+$/.test(d.uid) || 'uid', d.title?.startsWith('Baileys / ') || 'title', d.description || 'description', d.tags?.includes('baileys') || 'tags', d.editable === false || 'editable', d.id === null || 'id', d.schemaVersion === 38 || 'schemaVersion', d.graphTooltip === 1 || 'graphTooltip'].filter((ok) => typeof ok === 'string' && !ok.includes(' ')),
  'a link to the other dashboards keeps time and choices': (d) =>
    d.links.some((link) => link.type === 'dashboards' && link.tags.includes('baileys') && link.keepTime && link.includeVars) ? [] : ['no such link'],
  'a data source variable, and nothing but it': (d) => {
    const uids = [...real(d).map((panel) => panel.datasource), ...targets(d).map(({ target }) => target.datasource), ...d.templating.list.filter(({ type }) => type === 'query').map(({ datasource }) => datasource), ...d.annotations.list.filter(({ builtIn }) => !builtIn).map(({ datasource }) => datasource)];
    const source = variable(d, 'datasource');
    return [...(source?.type === 'datasource' && source.query === 'prometheus' && source.label === 'Data source' ? [] : ['the variable']), ...uids.filter((uid) => uid?.uid !== '${datasource}' || uid.type !== 'prometheus').map((uid) => JSON.stringify(uid))];
  },
  'cluster, namespace, job, host, session and remediator can be chosen, several or all': (d) => {
    const single = d.uid === 'baileys-session';
    const wanted = { cluster: '.*', namespace: '.*', job: '.+', ...(single ? {} : { instance: undefined, session: '.+', remediator: undefined }) };
    return [...d.templating.list.filter(({ type }) => type === 'query').filter((found) => found.refresh !== 2 || !found.label || found.query.query !== found.definition).map(({ name }) => name), ...Object.entries(wanted).filter(([name, all]) => {
      const found = variable(d, name);
      return !(found?.multi && found.includeAll && found.allValue === all);
    }).map(([name]) => name)];
  },
  'the dashboard of a session shows one session of one host': (d) =>
    d.uid === 'baileys-session'
      ? [
          ...['session', 'instance', 'host'].filter((name) => variable(d, name)?.multi !== false || variable(d, name).includeAll !== false),
          ...targets(d).flatMap((found) => selectors(found.target.expr).filter(({ metric, matchers }) => metric !== 'up' && !metric.endsWith('build_info') && !matchers.includes('session="$session"')).map(({ metric }) => `${where(found)}: ${metric}`)),
        ]
      : [],
  'at most 12 panels above the first closed row': (d) => {
    const closed = d.panels.findIndex(({ type, collapsed }) => type === 'row' && collapsed);
    const open = d.panels.slice(0, closed < 0 ? undefined : closed).filter(({ type }) => type !== 'row').length;
    return closed > 0 && open <= 12 ? [] : [`${open}`];
  },
  'a timeline has words in its bars': (d) => real(d).filter(({ type, options, fieldConfig }) => type === 'state-timeline' && (options.showValue !== 'auto' || !fieldConfig.defaults.mappings.length)).map(({ title }) => title),
  'colours are those of the palette': (d) => {
    const known = new Set(['text', 'transparent', ...Object.values(C)]);
    const used = [...JSON.stringify(real(d)).matchAll(/"(?:color|fixedColor)":"([^"]+)"/g)].map(([, color]) => color);
    return [...new Set(used.filter((color) => !known.has(color)))];
  },
  'every panel has a title and a description, no two the same title': (d) => {
    const titles = real(d).map(({ title }) => title);
    return [...real(d).filter(({ title, description }) => !title || !(description?.length > 20)).map(({ title }) => title), ...titles.filter((title, i) => titles.indexOf(title) !== i)];
  },
  'every panel has a unit that Grafana knows': (d) =>
    real(d).flatMap((panel) => [panel.fieldConfig.defaults.unit, ...panel.fieldConfig.overrides.flatMap(({ properties }) => properties.filter(({ id }) => id === 'unit').map(({ value }) => value))].filter((unit) => !UNITS.includes(unit)).map((unit) => `«${panel.title}» ${unit}`)),
  'every panel asks for something': (d) => real(d).filter((panel) => !panel.targets?.length || panel.targets.some(({ expr }) => !expr)).map(({ title }) => title),
  'panels lie beside each other': (d) => [d.panels, ...d.panels.filter(({ panels }) => panels?.length).map(({ panels }) => panels)].flatMap((panels) => {
    const taken = new Map();
    return panels.flatMap(({ title, id, gridPos: { x, y, w, h } }) => {
      const bad = x < 0 || x + w > WIDTH ? [`«${title}» is too wide`] : [];
      for (let row = y; row < y + h; row += 1) {
        for (let column = x; column < x + w; column += 1) {
          const key = `${column},${row}`;
          if (taken.has(key) && taken.get(key) !== id) {
            return [...bad, `«${title}» overlaps`];
          }
          taken.set(key, id);
        }
      }
      return bad;
    });
  }),
  'ids and refIds are unique': (d) => {
    const twice = (list) => list.filter((found, i) => list.indexOf(found) !== i);
    return [...twice([...d.panels.filter(({ type }) => type === 'row'), ...real(d)].map(({ id }) => id)), ...real(d).flatMap((panel) => twice(panel.targets.map(({ refId }) => refId)))];
  },
  'every selector names its targets': (d) =>
    [...targets(d), ...d.annotations.list.filter(({ builtIn }) => !builtIn).map((annotation) => ({ panel: { title: annotation.name }, target: annotation }))].flatMap((found) =>
      selectors(found.target.expr).flatMap(({ metric, matchers }) => {
        const exporter = [['job=~"$job"'], ['instance=~"$instance"', 'instance="$instance"']];
        // An alert belongs to an exporter, to a remediator, or to neither.
        const wanted = metric.startsWith('baileys_remediator_') ? [['instance=~"$remediator"', 'instance=~"${host}(:[0-9]+)?"']] : /alertname=~/.test(matchers) ? [['instance=~"$instance|$remediator|"']] : exporter;
        return wanted.filter((any) => !any.some((matcher) => matchers.includes(matcher))).map((matcher) => `${where(found)}: ${metric} without ${matcher}`);
      }),
    ),
  'rates over $__rate_interval, sums over $__range or a day': (d) =>
    targets(d).flatMap((found) =>
      [...found.target.expr.matchAll(/\b(rate|irate|increase|delta|idelta)\([^[]*\[([^\]]+)\]/g)].flatMap(([, call, window]) => {
        // A table or a number covers the whole time range, and so does `@ end()`.
        const whole = found.target.instant || found.target.expr.includes('[$__range] @ end()');
        return window === '$__rate_interval' || (whole && ['$__range', '1d'].includes(window)) ? [] : [`${where(found)}: ${call} over ${window}`];
      }),
    ),
  'counters are never shown as they are': (d) =>
    targets(d).flatMap((found) =>
      selectors(found.target.expr).flatMap(({ metric, range }) => (/_total($|:)/.test(metric) && !range ? [`${where(found)}: ${metric}`] : [])),
    ),
  'numbers and tables ask once, graphs over time': (d) =>
    targets(d).flatMap((found) => {
      const once = ['stat', 'bargauge', 'table'].includes(found.panel.type);
      return found.target.instant === once && found.target.range === !once && (found.panel.type !== 'table' || found.target.format === 'table') ? [] : [where(found)];
    }),
  'no legend of thousands: graphs of sessions are limited': (d) =>
    d.uid === 'baileys-session'
      ? []
      : targets(d).flatMap((found) => {
          const graph = ['timeseries', 'state-timeline'].includes(found.panel.type);
          const aggregated = /^(\w+\(|2 \* |clamp_min\(|round\()*(sum|max|min|count)\b/.test(found.target.expr);
          return graph && !aggregated && !/topk\(/.test(found.target.expr) ? [where(found)] : [];
        }),
  'tables paginate': (d) => real(d).filter((panel) => panel.type === 'table' && !(panel.options.enablePagination && panel.options.footer.enablePagination)).map(({ title }) => title),
  'clean-ups are annotations': (d) => (d.annotations.list.some(({ expr, enable, useValueForTime }) => enable && useValueForTime && expr?.includes('baileys_remediator_last_cleanup_timestamp_seconds')) ? [] : ['none']),
};

export const lint = (dashboard) => Object.entries(RULES).flatMap(([rule, broken]) => broken(dashboard).map((what) => `${rule}: ${what}`));

/** For each rule a change that breaks it, to test that the rule finds it. */
export const SLIPS = {
  'a uid, a title, a description, tags, no edits': (d) => (d.editable = true),
  'a link to the other dashboards keeps time and choices': (d) => (d.links[0].includeVars = false),
  'a data source variable, and nothing but it': (d) => (real(d)[0].targets[0].datasource.uid = 'abc'),
  'cluster, namespace, job, host, session and remediator can be chosen, several or all': (d) => (variable(d, 'job').allValue = '.*'),
  'at most 12 panels above the first closed row': (d) => d.panels.unshift(real(d)[0]),
  'a timeline has words in its bars': (d) => (real(d).find(({ type }) => type === 'state-timeline').options.showValue = 'never'),
  'colours are those of the palette': (d) => (real(d)[0].fieldConfig.defaults.mappings[0].options[0].color = 'green'),
  'the dashboard of a session shows one session of one host': (d) => ((d.uid = 'baileys-session'), (variable(d, 'session').multi = true)),
  'every panel has a title and a description, no two the same title': (d) => (real(d)[1].description = ''),
  'every panel has a unit that Grafana knows': (d) => (real(d)[2].fieldConfig.defaults.unit = 'hours'),
  'every panel asks for something': (d) => (real(d)[0].targets = []),
  'panels lie beside each other': (d) => (real(d)[3].gridPos.x -= 1),
  'ids and refIds are unique': (d) => (d.panels[1].id = d.panels[0].id),
  'every selector names its targets': (d) => (real(d)[0].targets[0].expr = 'sum(baileys_auth_files{job=~"$job"})'),
  'rates over $__rate_interval, sums over $__range or a day': (d) => (real(d)[0].targets[0].expr = `sum(rate(baileys_auth_log_lines_total[5m]))`),
  'counters are never shown as they are': (d) => (real(d)[0].targets[0].expr = 'sum(session:baileys_auth_signal_warnings_total:sum{job=~"$job",instance=~"$instance"})'),
  'numbers and tables ask once, graphs over time': (d) => (real(d)[0].targets[0].instant = false),
  'no legend of thousands: graphs of sessions are limited': (d) => d.uid === 'baileys-session' || (real(d).find(({ type }) => type === 'timeseries').targets[0].expr = 'baileys_auth_files{job=~"$job",instance=~"$instance"}'),
  'tables paginate': (d) => (real(d).find(({ type }) => type === 'table').options.enablePagination = false),
  'clean-ups are annotations': (d) => (d.annotations.list = d.annotations.list.slice(0, 1)),
};
