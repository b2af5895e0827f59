// What the remediators do, and what they refuse.
import * as g from './lib.mjs';

const R = g.REMEDIATOR;
const RS = `${R},session=~"$session"`;
const S = g.SESSIONS;

const total = (expr) => `round(sum(increase(${expr}[$__range]))) or vector(-1)`;
/** -1 means that no remediator is scraped. */
const { C } = g;
const NOBODY = g.words({ '-1': ['–', C.unknown] });
/** For a series that exists only while there is something: else 0, or -1 without a remediator. */
const orZero = (expr) => `${expr} or 0 * sum(baileys_remediator_sessions{${R}}) or vector(-1)`;
const ACTS = 'action=~"cleanup|emergency"';
// One bar is at least an hour. Then $__rate_interval is hardly longer than a bar, and nothing is
// counted twice.
const BAR = '1h';
const perBar = (by, expr) => `round(sum by (${by}) (increase(${expr}[$__rate_interval])))`;
const bars = (title, description, targets, more = {}) =>
  g.timeseries(title, description, targets, { interval: BAR, custom: g.BARS, ...more, defaults: { decimals: 0, noValue: 'no remediator is scraped', ...more.defaults } });

const counts = {
  height: 4,
  panels: [
    [3, g.stat('Clean-ups', 'Runs that moved files and ended well, emergencies included, in the time shown.', [g.now(total(`baileys_remediator_cleanups_total{${R}}`))], { mappings: NOBODY })],
    [3, g.stat('Failed', 'Runs that broke in the time shown; what they had begun was put back.', [g.now(total(`baileys_remediator_run_failures_total{${R}}`))], { thresholds: g.none(), mappings: NOBODY })],
    [3, g.stat('Refused', 'Runs that a guard refused in the time shown. That is the rule, not an error: see the reasons below.', [g.now(total(`baileys_remediator_refusals_total{${R}}`))], { mappings: NOBODY })],
    [3, g.stat('Files moved', 'Files moved into a quarantine in the time shown.', [g.now(total(`baileys_remediator_files_moved_total{${R}}`))], { mappings: NOBODY })],
    [3, g.stat('Under way', 'Runs accepted and not ended.', [g.now(`sum(baileys_remediator_queue_length{${R}}) or vector(-1)`)], { mappings: NOBODY })],
    [3, g.stat('Wait for a stop', 'Clean-ups that were refused because the bot is connected, and wait until it is found stopped, or for a maintenance window.', [g.now(orZero(`sum(baileys_remediator_armed_runs{${RS}})`))], { mappings: NOBODY })],
    [3, g.stat('Paused', 'Whether a person has paused all action (baileys_remediator resume goes on).', [g.now(`max(baileys_remediator_paused{${R}}) or vector(-1)`)], { isState: true, mappings: g.words({ '-1': ['none scraped', C.unknown], 0: ['no', C.normal], 1: ['paused', C.cleanup] }) })],
    [3, g.stat('Circuit breaker', 'open: too many were in trouble at once, and all action halts until a person resumes it.', [g.now(`max(baileys_remediator_breaker_open{${R}}) or vector(-1)`)], { isState: true, mappings: g.words({ '-1': ['none scraped', C.unknown], 0: ['closed', C.normal], 1: ['open', C.emergency] }) })],
  ],
};

const runs = {
  height: 9,
  panels: [
    [8, bars('Runs by action', 'Runs that ended, however they ended. plan is the dry run of the warning tier.', [g.range(perBar('action', `baileys_remediator_runs_total{${R}}`), '{{action}}')])],
    [8, bars('Refusals by reason', 'Why guards refused. connected and connection_unknown need a bot that is stopped, or a probe that works; nothing_removable needs other tiers for this session.', [g.range(`${perBar('reason', `baileys_remediator_refusals_total{${R}}`)} and on (reason) sum by (reason) (increase(baileys_remediator_refusals_total{${R}}[$__range] @ end())) > 0.5`, '{{reason}}')], { defaults: { noValue: 'none in this time, or no remediator is scraped' } })],
    [8, bars('Files moved by kind', 'Files moved into a quarantine, by kind, and files that an undo put back.', [g.range(perBar('kind', `baileys_remediator_files_moved_total{${R}}`), '{{kind}}'), g.range(perBar('', `baileys_remediator_files_restored_total{${R}}`), 'put back')], { overrides: [g.override('put back', { 'custom.transform': 'negative-Y', ...g.fixed('text') })], defaults: { min: undefined } })],
  ],
};

const sessions = {
  title: 'Each session',
  collapsed: true,
  height: 8,
  panels: [
    [
      24,
      g.table(
        'Latest run of each session',
        'How the latest clean-up or emergency of each session ended, and what its last clean-up left. From first alert: the time from there to the end of that clean-up.',
        [
          g.rows(`max by (instance, session, action, status, reason) (baileys_remediator_last_run_timestamp_seconds{${RS}}) * 1000`),
          g.rows(`max by (instance, session) (baileys_remediator_last_cleanup_timestamp_seconds{${RS}}) * 1000`),
          g.rows(`max by (instance, session) (baileys_remediator_last_cleanup_accumulated_files{${RS}})`),
          g.rows(`max by (instance, session) (baileys_remediator_last_cleanup_lead_seconds{${RS}})`),
        ],
        {
          sortBy: 'Ended',
          defaults: { noValue: 'no run yet, or no remediator is scraped' },
          columns: [
            ['session', 'Session', { links: [g.sessionLink], 'custom.minWidth': 110 }],
            ['instance', 'Remediator', { 'custom.minWidth': 110 }],
            ['action', 'Action', { 'custom.width': 90 }],
            ['status', 'Status', { mappings: g.STATUS_TEXTS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 75 }],
            ['reason', 'Reason', { mappings: g.WHY, noValue: '–', 'custom.minWidth': 150 }],
            ['Value #A', 'Ended', { unit: 'dateTimeFromNow', 'custom.width': 110 }],
            ['Value #B', 'Last clean-up', { noValue: '–', unit: 'dateTimeFromNow', 'custom.width': 110 }],
            ['Value #C', 'Files after', { noValue: '–', decimals: 0, 'custom.width': 85 }],
            ['Value #D', 'From first alert', { noValue: '–', unit: 's', decimals: 1, 'custom.width': 110 }],
          ],
        },
      ),
    ],
  ],
};

const waiting = {
  height: 10,
  panels: [
    [
      24,
      g.table(
        'Waiting for something',
        'Sessions whose runs are being refused without a break, whose clean-up waits until the bot stops, or whose service was started again and has not come back.',
        [
          g.rows(`label_replace(max by (instance, session, reason) (baileys_remediator_refused_since_timestamp_seconds{${RS}}) * 1000, "what", "refused", "", "")`),
          g.rows(`label_replace(max by (instance, session, action) (baileys_remediator_armed_runs{${RS}}), "what", "armed", "", "")`),
          g.rows(`label_replace(max by (instance, session, run) (baileys_remediator_service_not_back{${RS}}), "what", "not back", "", "")`),
        ],
        {
          sortBy: 'What',
          hidden: ['Value #B', 'Value #C', 'run'],
          defaults: { noValue: 'nothing waits, or no remediator is scraped' },
          columns: [
            ['session', 'Session', { links: [g.sessionLink], 'custom.minWidth': 120 }],
            ['instance', 'Remediator', { 'custom.minWidth': 110 }],
            ['what', 'What', { mappings: g.words({ refused: ['refused', C.cleanup], armed: ['waits', 'text'], 'not back': ['not back', C.emergency] }), 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 90 }],
            ['reason', 'Reason', { mappings: g.WHY, noValue: '–', 'custom.minWidth': 200 }],
            ['action', 'Action', { noValue: '–', 'custom.width': 90 }],
            ['Value #A', 'Since', { noValue: '–', unit: 'dateTimeFromNow', 'custom.width': 110 }],
          ],
        },
      ),
    ],
  ],
};

const emergencies = {
  title: 'Emergencies',
  collapsed: true,
  height: 8,
  panels: [
    [
      8,
      bars(
        'Emergency outcomes',
        'Emergency runs by how they ended: worked moved files and ended well, failed broke, the rest was refused or undone before anything moved.',
        [
          g.range(`round(sum(increase(baileys_remediator_cleanups_total{${R},action="emergency"}[$__rate_interval])))`, 'worked'),
          g.range(`round(sum(increase(baileys_remediator_run_failures_total{${R},action="emergency"}[$__rate_interval])))`, 'failed'),
          g.range(
            `clamp_min(round(sum(increase(baileys_remediator_runs_total{${R},action="emergency"}[$__rate_interval])) - sum(increase(baileys_remediator_cleanups_total{${R},action="emergency"}[$__rate_interval])) - sum(increase(baileys_remediator_run_failures_total{${R},action="emergency"}[$__rate_interval]))), 0)`,
            'refused',
          ),
        ],
        { overrides: [g.override('worked', g.fixed(C.normal)), g.override('failed', g.fixed(C.emergency)), g.override('refused', g.fixed(C.cleanup))] },
      ),
    ],
    [
      16,
      g.stat(
        'Emergencies and services',
        'Emergency runs that ended, and services that were stopped for one, in the time shown; services that are stopped now and not seen running again yet; sessions whose service was started again and which have not come back, where a person has to look.',
        [
          g.now(total(`baileys_remediator_runs_total{${R},action="emergency"}`), 'emergency runs'),
          g.now(total(`baileys_remediator_service_stops_total{${R}}`), 'services stopped'),
          g.now(`sum(baileys_remediator_services_down{${R}}) or vector(-1)`, 'down now'),
          g.now(orZero(`sum(baileys_remediator_service_not_back{${RS}})`), 'not back'),
        ],
        { mappings: NOBODY, overrides: [g.override('down now', { thresholds: g.none(C.cleanup) }), g.override('not back', { thresholds: g.none() })] },
      ),
    ],
  ],
};

const stock = {
  title: 'Quarantine and queue',
  collapsed: true,
  height: 8,
  panels: [
    [8, g.timeseries('Quarantine', 'Bytes in all quarantines, as of the last sweep or run. Files leave it after the retention.', [g.range(`sum by (instance) (baileys_remediator_quarantined_bytes{${R}})`, '{{instance}}')], { unit: 'bytes', custom: { fillOpacity: 20 }, defaults: { noValue: 'no remediator is scraped' } })],
    [8, g.timeseries('Runs under way and waiting', 'Runs accepted and not ended, and clean-ups that wait for their bot to stop.', [g.range(`sum(baileys_remediator_queue_length{${R}})`, 'queue'), g.range(`sum(baileys_remediator_armed_runs{${RS}}) or 0 * sum(baileys_remediator_queue_length{${R}})`, 'waiting for the bot to stop')], { defaults: { decimals: 0, noValue: 'no remediator is scraped' }, custom: { lineInterpolation: 'stepAfter' } })],
    [
      8,
      g.stateTimeline(
        'Pause and circuit breaker over time',
        'When a person had paused all action, and when the breaker had halted it.',
        [g.range(`max(baileys_remediator_paused{${R}})`, 'paused'), g.range(`2 * max(baileys_remediator_breaker_open{${R}})`, 'breaker')],
        { mappings: [...g.words({ 0: ['acting', C.normal], 1: ['paused', C.cleanup], 2: ['halted', C.emergency] }), ...g.unknown('unknown')], defaults: { noValue: 'no remediator is scraped' } },
      ),
    ],
  ],
};

const calls = {
  title: 'Calls from Alertmanager, and copies of creds.json',
  collapsed: true,
  height: 8,
  panels: [
    [8, bars('Alerts by outcome', 'What became of the alerts in accepted requests: queued was put on record, cooldown had succeeded less than 6 hours ago, no_action asks for nothing.', [g.range(`${perBar('outcome', `baileys_remediator_webhook_alerts_total{${R}}`)} and on (outcome) sum by (outcome) (increase(baileys_remediator_webhook_alerts_total{${R}}[$__range] @ end())) > 0.5`, '{{outcome}}')], { defaults: { noValue: 'none in this time, or no remediator is scraped' } })],
    [8, bars('Requests by status', 'Requests to the webhook by HTTP status. 202 is accepted; 401 is a wrong token.', [g.range(perBar('code', `baileys_remediator_webhook_requests_total{${R}}`), '{{code}}')], { defaults: { noValue: 'none yet, or no remediator is scraped' } })],
    [
      8,
      g.stat(
        'Sessions',
        'Sessions that the remediators know; those of whose creds.json a copy is kept; and those cleaned in the time shown which are above their first tier now: the clean-up did not bring the count down, or it came back.',
        [
          g.now(`sum(baileys_remediator_sessions{${R}}) or vector(-1)`, 'known'),
          g.now(`sum(baileys_remediator_creds_insured_sessions{${R}}) or vector(-1)`, 'creds copied'),
          g.now(orZero(`count(${g.withHost(`session:baileys_auth_tier:rank{${S}}`)} > 0 and on (host, session) ${g.withHost(`baileys_remediator_last_cleanup_timestamp_seconds{${RS}}`)} > time() - $__range_s)`), 'cleaned, above 100'),
        ],
        { mappings: NOBODY, overrides: [g.override('cleaned, above 100', { thresholds: g.none(C.cleanup) })] },
      ),
    ],
  ],
};

export default g.dashboard({
  uid: g.UIDS.remediation,
  title: 'Baileys / Remediation',
  description: 'What the remediators did in the time shown, what their guards refused, and what waits for something.',
  from: 'now-7d',
  layout: [counts, waiting, runs, sessions, emergencies, stock, calls],
});
