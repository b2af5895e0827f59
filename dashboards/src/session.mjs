// One session in detail. It has about 85 series, so a panel may query all of them.
import * as g from './lib.mjs';

const S = g.ONE_SESSION;
const R = `${g.REMEDIATOR},session="$session"`;

const rank = `session:baileys_auth_tier:rank{${S}}`;
const files = `session:baileys_auth_accumulated_files:last{${S}}`;
const orNone = (expr) => `${expr} or vector(-1)`;
/** -1 where there is none, and no number where nobody would know. */
const orNever = (expr, known) => `${expr} or 0 * ${known} - 1 or vector(NaN)`;
const scraped = `max(${files})`;
const watched = `sum(baileys_remediator_sessions{${g.REMEDIATOR}})`;
const never = (text, color) => [...g.words({ '-1': [text, color] }), ...g.unknown('no data')];
const HOURS = { unit: 'h', defaults: { decimals: 1 }, thresholds: g.steps([null, 'red'], [6, 'orange'], [24, 'yellow'], [72, 'green']), mappings: never('not in sight', 'green') };
const connection = `max(3 * baileys_auth_connection_state{${S},state="connected"} + on (instance) 2 * baileys_auth_connection_state{${S},state="unknown"} + on (instance) baileys_auth_connection_state{${S},state="disconnected"})`;
const creds = `min(baileys_auth_creds_valid{${S}} + baileys_auth_logged_in{${S}})`;
const AGO = { unit: 'dateTimeFromNow' };

const what = {
  height: 4,
  panels: [
    [3, g.stat('Tier', 'Where the session stands on the ladder of its own thresholds.', [g.now(`max(${rank})`)], { mappings: g.TIER_WORDS })],
    [3, g.stat('Files', 'Accumulated files, which the tiers count: those a classic folder would hold.', [g.now(`max(${files})`)], { thresholds: g.FILE_STEPS })],
    [3, g.stat('In 24 h', 'Accumulated files gained, or lost, in the last 24 hours.', [g.now(`max(${g.slow(`session:baileys_auth_accumulated_files:delta1d{${S}}`)}) or vector(NaN)`)], { thresholds: g.steps([null, 'text'], [20, 'yellow'], [50, 'red']), mappings: g.unknown('no data') })],
    [3, g.stat('Until clean-up', 'Hours until the tier cleanup (150 files unless configured otherwise) at the pace of the last 24 hours; none where the session does not grow, or is past it.', [g.now(orNever(`min(${g.slow(`session:baileys_auth_hours_to_cleanup:pace1d{${S}}`)})`, scraped))], HOURS)],
    [3, g.stat('Until emergency', 'Hours until the tier emergency (180 files unless configured otherwise) at the pace of the last 24 hours; none where the session does not grow, or is past it.', [g.now(orNever(`min(${g.slow(`session:baileys_auth_hours_to_emergency:pace1d{${S}}`)})`, scraped))], HOURS)],
    [3, g.stat('Connection', 'What the evidence says of the bot. Nothing is cleaned unless it is disconnected.', [g.now(connection)], { mappings: g.CONNECTION_WORDS })],
    [3, g.stat('Creds', 'ok: creds.json is valid and paired. logged out: valid, but not paired. broken: missing, empty, cut off or unreadable.', [g.now(creds)], { mappings: g.CREDS_WORDS })],
    [3, g.stat('Warnings 24 h', 'Signs of trouble in its logs in the last 24 hours, patterns of severity info left out.', [g.now(orNone(`round(max(${g.slow(`session:baileys_auth_signal_warnings:increase1d{${S}}`)}))`))], { thresholds: g.none('yellow'), mappings: g.words({ '-1': ['no logs', 'text'] }) })],
  ],
};

const more = {
  height: 4,
  panels: [
    [3, g.stat('Removable now', 'Files that a clean-up, and an emergency, could move now. 0 where it would be refused as dormant, woken recently or without a valid creds.json.', ['cleanup', 'emergency'].map((action) => g.now(orNone(`max(session:baileys_auth_removable_files:sum{${S},action="${action}"})`), action)), { mappings: g.words({ '-1': ['no data', 'text'] }), options: { orientation: 'vertical' } })],
    [3, g.stat('Pre-keys', 'One-time pre-keys in the folder, and how many a login mints.', [g.now(`max(baileys_auth_pre_keys{${S}})`, 'held'), g.now(`max(baileys_auth_pre_key_batch{${S}})`, 'batch')], { options: { orientation: 'vertical' } })],
    [3, g.stat('Newest pre-key', 'Whether the file of the pre-key minted last is there. missing: a contact used it, or something deleted it.', [g.now(`max(baileys_auth_newest_pre_key_missing{${S}}) or vector(-1)`)], { mappings: g.words({ '-1': ['not known', 'text'], 0: ['there', 'green'], 1: ['missing', 'yellow'] }) })],
    [3, g.stat('Activity', 'dormant: no chat was active within 14 days; a clean-up refuses it.', [g.now(`max(baileys_auth_dormant{${S}}) or vector(-1)`)], { mappings: g.words({ '-1': ['not known', 'text'], 0: ['active', 'green'], 1: ['dormant', 'yellow'] }) })],
    [3, g.stat('Oldest active', 'When the chat silent longest among those of the last 14 days was last used.', [g.now(orNever(`min(baileys_auth_oldest_active_session_timestamp_seconds{${S}}) * 1000`, scraped))], { ...AGO, mappings: never('none') })],
    [3, g.stat('Last clean-up', 'When a clean-up last moved files.', [g.now(orNever(`max(baileys_remediator_last_cleanup_timestamp_seconds{${R}}) * 1000`, watched))], { ...AGO, mappings: never('never') })],
    [3, g.stat('Files after it', 'Accumulated files right after that clean-up.', [g.now(orNone(`max(baileys_remediator_last_cleanup_accumulated_files{${R}})`))], { thresholds: g.FILE_STEPS, mappings: g.words({ '-1': ['–', 'text'] }) })],
    [3, g.stat('Creds copy', 'When the newest copy that the remediator keeps was last known to be what the folder holds.', [g.now(orNever(`max(baileys_remediator_creds_insured_timestamp_seconds{${R}}) * 1000`, watched))], { ...AGO, mappings: never('none', 'orange') })],
  ],
};

const tierColor = Object.fromEntries(g.TIERS);
const graphs = {
  title: 'Files',
  height: 10,
  panels: [
    [
      12,
      g.timeseries(
        'Accumulated files and the tiers',
        'What the tiers count, with this session’s own thresholds as dashed lines. A clean-up is a vertical line.',
        [g.range(`max(${files})`, 'accumulated'), g.range(`max by (tier) (baileys_auth_tier_threshold_files{${S}})`, '{{tier}}')],
        {
          defaults: { decimals: 0 },
          overrides: [
            g.override('accumulated', { 'custom.lineWidth': 2, 'custom.fillOpacity': 10, ...g.fixed('text') }),
            ...['monitor', 'warning', 'cleanup', 'emergency', 'fatal'].map((tier) => g.override(tier, { 'custom.lineStyle': { fill: 'dash', dash: [8, 6] }, ...g.fixed(tierColor[tier]) })),
          ],
        },
      ),
    ],
    [
      12,
      g.timeseries(
        'Files by kind',
        'Everything in the folder by kind, .tmp and .bak companions included. The bookkeeping of Baileys 7 and the pre-keys of a large batch are here, and do not count as accumulated.',
        [g.range(`sum by (kind) (baileys_auth_files{${S}}) > 0`, '{{kind}}')],
        { custom: g.STACKED, defaults: { decimals: 0 }, legend: g.TABLE_LEGEND('lastNotNull') },
      ),
    ],
  ],
};

const states = {
  title: 'Connection',
  height: 6,
  panels: [
    [
      24,
      g.stateTimeline(
        'Connection, creds and tier',
        'What the bot was doing: whether it was connected, whether its creds.json was valid and paired, and its tier.',
        [g.range(connection, 'connection'), g.range(creds, 'creds'), g.range(`max(${rank})`, 'tier')],
        {
          mappings: g.TIER_WORDS,
          options: { showValue: 'auto' },
          overrides: [g.override('connection', { mappings: g.CONNECTION_WORDS }), g.override('creds', { mappings: g.CREDS_WORDS })],
        },
      ),
    ],
  ],
};

// One bar is ten minutes at least; $__rate_interval is then hardly longer than a bar, so
// that next to nothing is counted twice. Bars are not for adding up: a total asks for itself.
const BAR = '10m';
const minted = `delta(baileys_auth_next_pre_key_id{${S}}[$__rate_interval])`;
const kept = `delta(baileys_auth_pre_keys{${S}}[$__rate_interval])`;
const preKeys = {
  title: 'Pre-keys',
  height: 9,
  panels: [
    [
      12,
      g.timeseries(
        'Pre-keys held',
        'One-time pre-keys in the folder against the batch that a login mints. Baileys mints anew when WhatsApp has few left; a healthy 6.x folder swings between 5 and 35, one of 7.x between some and 812.',
        [g.range(`max(baileys_auth_pre_keys{${S}})`, 'held'), g.range(`max(baileys_auth_pre_key_batch{${S}})`, 'batch')],
        { defaults: { decimals: 0 }, custom: { fillOpacity: 10 }, overrides: [g.override('held', g.fixed('blue')), g.override('batch', { 'custom.lineStyle': { fill: 'dash', dash: [8, 6] }, 'custom.fillOpacity': 0, ...g.fixed('text') })] },
      ),
    ],
    [
      12,
      g.timeseries(
        'Pre-keys minted and gone',
        'Above the line, pre-keys that the bot minted; below it, those that went: contacts used them to begin a chat, or a clean-up moved them.',
        [g.range(`clamp_min(round(sum(${minted})), 0)`, 'minted'), g.range(`clamp_min(round(sum(${minted} - ${kept})), 0)`, 'used or moved')],
        {
          interval: BAR,
          defaults: { decimals: 0, min: undefined },
          custom: { ...g.BARS, stacking: { group: 'A', mode: 'none' } },
          overrides: [g.override('minted', g.fixed('blue')), g.override('used or moved', { 'custom.transform': 'negative-Y', ...g.fixed('orange') })],
        },
      ),
    ],
  ],
};

const age = (which, unit) => `(time() - max by (kind) (baileys_auth_${which}_file_timestamp_seconds{${S}})) / ${unit}`;
const NO_TIMES = 'the exporter runs without --collector.file_times';
const ages = {
  title: 'Ages',
  height: 9,
  panels: [
    [
      12,
      g.timeseries('Age of the oldest file by kind', 'How long ago the oldest file of each kind was written. Old session files are chats long silent. Needs --collector.file_times of the exporter.', [g.range(age('oldest', 86400), '{{kind}}')], { unit: 'suffix: d', defaults: { decimals: 1, noValue: NO_TIMES }, legend: g.TABLE_LEGEND('lastNotNull') }),
    ],
    [
      12,
      g.timeseries('Age of the newest file by kind', 'How long ago a file of each kind was last written. A bot that works writes sessions all the time. Needs --collector.file_times of the exporter.', [g.range(age('newest', 3600), '{{kind}}')], { unit: 'suffix: h', defaults: { decimals: 1, noValue: NO_TIMES }, legend: g.TABLE_LEGEND('lastNotNull') }),
    ],
  ],
};

const warnings = `sum by (pattern) (increase(baileys_auth_signal_warnings_total{${S}}[$__rate_interval]))`;
const logs = {
  title: 'Logs',
  height: 10,
  panels: [
    [
      15,
      g.timeseries(
        'Patterns in the logs',
        'What the session’s logs say, by pattern, each event once; patterns of severity info, which are no trouble, are here too. `baileys_exporter patterns` says what each means. Patterns that did not occur in the time shown are left out.',
        [g.range(`round(${warnings}) and on (pattern) sum by (pattern) (increase(baileys_auth_signal_warnings_total{${S}}[$__range] @ end())) > 0.5`, '{{pattern}}')],
        { interval: BAR, custom: g.BARS, defaults: { decimals: 0, noValue: 'none in this time, or no log is followed' }, legend: { placement: 'right' } },
      ),
    ],
    [
      9,
      g.bargauge(
        'Patterns in the time shown',
        'How often the ten most frequent patterns occurred in the time shown, those of severity info included.',
        [g.now(`sort_desc(topk(10, round(sum by (pattern) (increase(baileys_auth_signal_warnings_total{${S}}[$__range])))))`, '{{pattern}}')],
        { thresholds: g.none('yellow'), defaults: { noValue: 'no log is followed' } },
      ),
    ],
  ],
};

const lines = {
  height: 8,
  panels: [
    [
      9,
      g.timeseries(
        'Log lines',
        'Lines in the session’s logs, and lines that show a private key, which nobody should be able to read.',
        [g.range(`round(sum(increase(baileys_auth_log_lines_total{${S}}[$__rate_interval])))`, 'lines'), g.range(`round(sum(increase(baileys_auth_log_secret_lines_total{${S}}[$__rate_interval])))`, 'with secrets')],
        { interval: BAR, custom: { ...g.BARS, stacking: { group: 'A', mode: 'none' } }, defaults: { decimals: 0, noValue: 'no log is followed' }, overrides: [g.override('lines', g.fixed('text')), g.override('with secrets', g.fixed('red'))] },
      ),
    ],
    [
      9,
      g.timeseries(
        'Removable by kind',
        'Files that a clean-up could move, by kind, whatever the connection.',
        [g.range(`sum by (kind) (baileys_auth_removable_files{${S},action="cleanup"})`, '{{kind}}')],
        { custom: g.STACKED, defaults: { decimals: 0 } },
      ),
    ],
    [3, g.stat('Log coverage', 'half: its logs never showed a line of the library’s logger (pino at silent or fatal), so only what the bot itself prints is counted.', [g.now(orNone(`max(baileys_auth_log_half_monitored{${S}})`))], { mappings: g.words({ '-1': ['no logs', 'text'], 0: ['full', 'green'], 1: ['half', 'yellow'] }) })],
    [3, g.stat('Pre-key batch', 'ambiguous: the folder does not tell how many pre-keys a login mints, so its count may be wrong; set pre_key_batch for the session.', [g.now(orNone(`max(baileys_auth_pre_key_batch_ambiguous{${S}})`))], { mappings: g.words({ '-1': ['no data', 'text'], 0: ['told', 'green'], 1: ['ambiguous', 'yellow'] }) })],
  ],
};

const RUN_COLORS = { done: 'green', refused: 'orange', failed: 'red' };
const runs = {
  title: 'Runs',
  height: 7,
  panels: [
    [
      12,
      g.stateTimeline(
        'The latest run, over time',
        'Which run was the latest at each time, by how it ended: done moved files, refused is a guard’s word, failed broke. `baileys_remediator runs` lists all.',
        [
          g.range(
            Object.keys(RUN_COLORS)
              .map((status, i) => `max by (action, status, reason) (baileys_remediator_last_run_timestamp_seconds{${R},status="${status}"} * 0 + ${i})`)
              .join(' or '),
            '{{action}} {{status}} {{reason}}',
          ),
        ],
        { mappings: g.words(Object.fromEntries(Object.entries(RUN_COLORS).map(([status, color], i) => [i, [status, color]]))), defaults: { noValue: 'no run, or no remediator is scraped' } },
      ),
    ],
    [
      12,
      g.table(
        'The latest run, and since when runs are refused',
        'How the latest clean-up or emergency of this session ended, and since when its runs have been refused without a break.',
        [g.rows(`max by (action, status, reason) (baileys_remediator_last_run_timestamp_seconds{${R}}) * 1000`), g.rows(`min(baileys_remediator_refused_since_timestamp_seconds{${R}}) * 1000 or vector(0)`)],
        {
          sortBy: 'Ended',
          defaults: { noValue: '–' },
          columns: [
            ['action', 'Action'],
            ['status', 'Status', { mappings: g.words({ done: ['done', 'green'], refused: ['refused', 'orange'], failed: ['failed', 'red'] }), 'custom.cellOptions': { type: 'color-text' } }],
            ['reason', 'Reason'],
            ['Value #A', 'Ended', { unit: 'dateTimeFromNow' }],
            ['Value #B', 'Refused since', { unit: 'dateTimeFromNow', mappings: g.words({ 0: ['–'] }) }],
          ],
        },
      ),
    ],
  ],
};

export default g.dashboard({
  uid: g.UIDS.session,
  title: 'Baileys / Session',
  description: 'One auth folder in depth: its files, its pre-keys, its logs, its connection, and what was done about it.',
  from: 'now-24h',
  oneSession: true,
  layout: [what, more, graphs, states, preKeys, ages, logs, lines, runs],
});
