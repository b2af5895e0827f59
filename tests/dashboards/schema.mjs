// JSON Schemas out of the TypeScript types that Grafana itself publishes (@grafana/schema).
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = path.dirname(fileURLToPath(import.meta.url));
const types = path.join(here, 'node_modules/@grafana/schema/dist/types/raw');
const packages = { 'state-timeline': 'statetimeline' };
const ajv = new Ajv({ allErrors: true, strict: false, allowUnionTypes: true });
const compiled = new Map();

function schema(file, type) {
  const key = `${file} ${type}`;
  if (!compiled.has(key)) {
    const generator = createGenerator({ path: path.join(types, file), type, tsconfig: path.join(here, 'tsconfig.json'), skipTypeCheck: true, additionalProperties: false, expose: 'export', topRef: true });
    compiled.set(key, ajv.compile(generator.createSchema(type)));
  }
  return compiled.get(key);
}

function problems(where, validate, value) {
  return validate(value) ? [] : validate.errors.map((error) => `${where}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
}

/** What real Grafana reads and writes and its published types lack. */
function withoutWhatTheTypesLack(dashboard) {
  const copy = structuredClone(dashboard);
  for (const name of ['__inputs', '__requires', '__elements']) {
    delete copy[name];
  }
  for (const variable of copy.templating.list) {
    delete variable.definition;
    // Nothing chosen yet.
    if (Object.keys(variable.current).length === 0) {
      delete variable.current;
    }
  }
  for (const annotation of copy.annotations.list) {
    for (const name of ['expr', 'step', 'titleFormat', 'textFormat', 'tagKeys', 'useValueForTime', 'target']) {
      delete annotation[name];
    }
  }
  for (const panel of copy.panels) {
    // Where Grafana up to 12 looks for the pages of a table; the types are those of 13.
    delete panel.options?.footer;
  }
  return copy;
}

/** How a dashboard differs from Grafana's types: the whole, and each panel's options. */
export function validate(given) {
  const dashboard = withoutWhatTheTypesLack(given);
  const found = problems('', schema('dashboard/x/types.gen.d.ts', 'Dashboard'), dashboard);
  for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
    const file = `composable/${packages[panel.type] ?? panel.type}/panelcfg/x/types.gen.d.ts`;
    found.push(...problems(`«${panel.title}» options`, schema(file, 'Options'), panel.options));
    const custom = panel.fieldConfig.defaults.custom;
    if (custom) {
      found.push(...problems(`«${panel.title}» custom`, schema(file, 'FieldConfig'), custom));
    }
  }
  return found;
}
