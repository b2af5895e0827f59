// operator.mjs FILE: holds each object of a JSON list to its CRD in the Prometheus operator.
//
// @kubernetes-models/prometheus-operator is made of the CRDs: its validators know the patterns
// and enumerations, its types which fields there are. A field that is unknown is an error.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = path.dirname(fileURLToPath(import.meta.url));
const kinds = { PodMonitor, PrometheusRule, ServiceMonitor };
const fields = {};
for (const kind of Object.keys(kinds)) {
  const file = path.join(here, 'node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1', `${kind}.d.ts`);
  const generator = createGenerator({ path: file, type: `I${kind}`, tsconfig: path.join(here, 'tsconfig.json'), skipTypeCheck: true, additionalProperties: false, expose: 'all', topRef: true });
  fields[kind] = new Ajv({ strict: false, allowUnionTypes: true }).compile(generator.createSchema(`I${kind}`));
}

function problem(object) {
  try {
    new kinds[object.kind](object).validate();
  } catch (error) {
    return error.message.slice(0, 300);
  }
  return fields[object.kind](object) ? null : JSON.stringify(fields[object.kind].errors[0]);
}

// What must be refused, so that nothing passes because nothing is looked at.
const wrong = [
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'ServiceMonitor', metadata: { name: 'x' }, spec: { selector: {}, endpoints: [{ port: 'a', interval: '30 seconds' }] } },
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'PodMonitor', metadata: { name: 'x' }, spec: { selector: {}, podMetricsEndpoints: [{ prot: 'a' }] } },
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata: { name: 'x' }, spec: { groups: [{ name: 'g', rules: [{ alert: 'A' }] }] } },
];
let failed = wrong.some((object) => problem(object) === null);
if (failed) {
  console.log('FAIL  a wrong object passes');
}
const objects = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
for (const object of objects) {
  const found = problem(object);
  if (found !== null) {
    failed = true;
    console.log(`${object.kind} ${object.metadata.name}: ${found}`);
  }
}
if (!failed) {
  console.log(`ok    ${objects.length} objects of the Prometheus operator`);
}
process.exit(failed ? 1 : 0);
