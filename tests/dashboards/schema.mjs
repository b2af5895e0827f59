// JSON Schemas from the TypeScript types that Grafana publishes (@grafana/schema).
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(here, 'node_modules/@grafana');
const ajv = new Ajv({ allErrors: true, strict: false, allowUnionTypes: true });
const compiled = new Map();
const names = { stat: 'Stat', timeseries: 'TimeSeries', 'state-timeline': 'StateTimeline', bargauge: 'BarGauge', table: 'Table' };
const folder = (type) => type.replace('-', '');

/**
 * The oldest Grafana with published panel types, and the newest. `ignored` are keys for other
 * versions, which are unknown to this version and which it ignores.
 */
export const GENERATIONS = [
  {
    name: 'Grafana 10.1',
    // Its type of a whole dashboard requires keys with defaults and lacks keys that exist, so only
    // the panels are validated.
    dashboard: null,
    panel: (type) => path.join(modules, `schema-oldest/dist/esm/raw/composable/${folder(type)}/panelcfg/x/${names[type]}PanelCfg_types.gen.d.ts`),
    tsconfig: 'tsconfig-oldest.json',
    of: { bargauge: ['options.legend'] },
    ignored: ['fieldConfig.defaults.custom.insertNulls', 'fieldConfig.defaults.custom.axisBorderShow', 'options.percentChangeColorMode', 'options.showPercentChange', 'options.wideLayout', 'options.enablePagination', 'options.maxVizHeight', 'options.sizing', 'options.namePlacement', 'options.perPage', 'options.tooltip.hideZeros', 'options.tooltip.maxHeight'],
  },
  {
    name: 'Grafana 13',
    dashboard: path.join(modules, 'schema/dist/types/raw/dashboard/x/types.gen.d.ts'),
    panel: (type) => path.join(modules, `schema/dist/types/raw/composable/${folder(type)}/panelcfg/x/types.gen.d.ts`),
    tsconfig: 'tsconfig.json',
    of: {},
    ignored: ['options.footer'],
  },
];

function schema(file, type, tsconfig) {
  const key = `${file} ${type}`;
  if (!compiled.has(key)) {
    const generator = createGenerator({ path: file, type, tsconfig: path.join(here, tsconfig), skipTypeCheck: true, additionalProperties: false, expose: 'export', topRef: true });
    compiled.set(key, ajv.compile(generator.createSchema(type)));
  }
  return compiled.get(key);
}

function problems(where, validate, value) {
  return validate(value) ? [] : validate.errors.map((error) => `${where}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
}

/** Removes keys that Grafana reads and writes but its published types lack. */
function withoutWhatTheTypesLack(dashboard) {
  const copy = structuredClone(dashboard);
  for (const name of ['__inputs', '__requires', '__elements']) {
    delete copy[name];
  }
  for (const variable of copy.templating.list) {
    delete variable.definition;
    // No value selected yet.
    if (Object.keys(variable.current).length === 0) {
      delete variable.current;
    }
  }
  for (const annotation of copy.annotations.list) {
    for (const name of ['expr', 'step', 'titleFormat', 'textFormat', 'tagKeys', 'useValueForTime', 'target']) {
      delete annotation[name];
    }
  }
  // The types lack closed rows.
  copy.panels = copy.panels.flatMap((panel) => (panel.type === 'row' ? [{ ...panel, panels: [] }, ...panel.panels] : [panel]));
  return copy;
}

/** Removes the keys that this Grafana ignores. */
function asRead(value, ignored, where = '') {
  for (const key of Object.keys(value)) {
    const at = where ? `${where}.${key}` : key;
    if (ignored.includes(at)) {
      delete value[key];
    } else if (value[key] && typeof value[key] === 'object' && !Array.isArray(value[key])) {
      asRead(value[key], ignored, at);
    }
  }
}

/** How a dashboard and the options of its panels differ from the types of each Grafana. */
export function validate(given) {
  return GENERATIONS.flatMap((grafana) => {
    const dashboard = withoutWhatTheTypesLack(given);
    asRead(dashboard, grafana.ignored);
    dashboard.panels.forEach((panel) => asRead(panel, [...grafana.ignored, ...(grafana.of[panel.type] ?? [])]));
    const found = grafana.dashboard ? problems('', schema(grafana.dashboard, 'Dashboard', grafana.tsconfig), dashboard) : [];
    for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
      const file = grafana.panel(panel.type);
      found.push(...problems(`«${panel.title}» options`, schema(file, 'Options', grafana.tsconfig), panel.options));
      const custom = panel.fieldConfig.defaults.custom;
      // The types of table cells are not in a file of their own.
      if (custom && panel.type !== 'table') {
        found.push(...problems(`«${panel.title}» custom`, schema(file, 'FieldConfig', grafana.tsconfig), custom));
      }
    }
    return [...new Set(found)].map((problem) => `${grafana.name}: ${problem}`);
  });
}
