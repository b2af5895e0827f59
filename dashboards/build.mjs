// node build.mjs [--check]
//
// Builds the dashboards from src/. With --check it writes nothing, and fails if a file differs.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fleet from './src/fleet.mjs';
import session from './src/session.mjs';
import remediation from './src/remediation.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const check = process.argv.includes('--check');
const dashboards = { fleet, session, remediation };

/** For import by hand: Grafana asks for the data source, and sets the variable. */
function forImport(dashboard) {
  const copy = structuredClone(dashboard);
  copy.templating.list.find((variable) => variable.name === 'datasource').current = { selected: true, text: '${DS_PROMETHEUS}', value: '${DS_PROMETHEUS}' };
  const all = copy.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
  const panels = [...new Set(all.map((panel) => panel.type))].filter((type) => type !== 'row').sort();
  return {
    __inputs: [{ name: 'DS_PROMETHEUS', label: 'Prometheus', description: 'The Prometheus that scrapes the exporters and evaluates baileys.rules.yml', type: 'datasource', pluginId: 'prometheus', pluginName: 'Prometheus' }],
    __elements: {},
    __requires: [
      { type: 'grafana', id: 'grafana', name: 'Grafana', version: '10.0.0' },
      { type: 'datasource', id: 'prometheus', name: 'Prometheus', version: '1.0.0' },
      ...panels.map((id) => ({ type: 'panel', id, name: id, version: '' })),
    ],
    ...copy,
  };
}

const files = {};
for (const [name, dashboard] of Object.entries(dashboards)) {
  files[`${name}.json`] = dashboard;
  files[`import/${name}.json`] = forImport(dashboard);
}
let differ = 0;
for (const [name, content] of Object.entries(files)) {
  const file = path.join(here, name);
  const text = `${JSON.stringify(content, null, 2)}\n`;
  if (!check) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  } else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) {
    console.error(`dashboards/${name} is behind its source; run: node dashboards/build.mjs`);
    differ += 1;
  }
}
process.exit(differ ? 1 : 0);
