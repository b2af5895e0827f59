// node check.mjs: compares the dashboards with their source, Grafana's types and the rules of the
// linter, and tests that each check finds a mistake.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { C } from '../../dashboards/src/lib.mjs';
import { nearest } from './colours.mjs';
import { lint, real, RULES, SLIPS } from './lint.mjs';
import { validate } from './schema.mjs';

const dir = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../dashboards');
const read = (name) => JSON.parse(fs.readFileSync(path.join(dir, name), 'utf8'));
const names = ['fleet.json', 'session.json', 'remediation.json'];
const problems = [];
const expect = (ok, what) => ok || problems.push(what);

const built = spawnSync(process.execPath, [path.join(dir, 'build.mjs'), '--check'], { encoding: 'utf8' });
expect(built.status === 0, built.stderr);

const present = fs.readdirSync(dir).filter((name) => name.endsWith('.json'));
expect(present.sort().join() === [...names].sort().join(), `other files than ${names}: ${present}`);
expect(new Set(names.map((name) => read(name).uid)).size === names.length, 'a uid is used twice');

for (const name of [...names, ...names.map((other) => `import/${other}`)]) {
  const dashboard = read(name);
  problems.push(...validate(dashboard).map((problem) => `${name}: ${problem}`));
  problems.push(...lint(dashboard).map((problem) => `${name}: ${problem}`));
}
for (const name of names) {
  const imported = read(`import/${name}`);
  const [input] = imported.__inputs;
  expect(input.pluginId === 'prometheus' && JSON.stringify(imported.templating).includes(`"\${${input.name}}"`), `import/${name}: the input is not used`);
  const types = new Set(real(imported).map(({ type }) => type));
  const required = new Set(imported.__requires.filter(({ type }) => type === 'panel').map(({ id }) => id));
  expect([...types].every((type) => required.has(type)) && types.size === required.size, `import/${name}: __requires`);
  for (const extra of ['__inputs', '__requires', '__elements']) {
    delete imported[extra];
  }
  imported.templating.list[0].current = {};
  expect(JSON.stringify(imported) === JSON.stringify(read(name)), `import/${name} differs from ${name} in more than its data source`);
}

// The colours of the tiers, and the grey of what is unknown.
const apart = nearest(Object.values(C));
expect(apart.distance >= 20, `two colours look alike: ${JSON.stringify(apart)}`);
// Greens and reds that look the same to a person with deuteranopia.
expect(nearest(['#73BF69', '#F2CC0C', '#C4162A', '#9F8A4C']).distance < 20, 'the distance of colours finds nothing');

// Every rule must find its mistake.
for (const rule of Object.keys(RULES)) {
  const dashboard = read('fleet.json');
  SLIPS[rule]?.(dashboard);
  expect(RULES[rule](dashboard).length > 0, `the rule «${rule}» finds nothing`);
}
const slipped = read('fleet.json');
slipped.panels[0].options.colourMode = 'value';
expect(validate(slipped).length > 0, 'the schema finds nothing');

problems.forEach((problem) => console.error(problem));
console.log(problems.length ? `${problems.length} problems` : `${names.length} dashboards, ${Object.keys(RULES).length} rules`);
process.exit(problems.length ? 1 : 0);
