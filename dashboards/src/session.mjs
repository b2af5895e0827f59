// One session on one host, in detail. It has about 85 series, so a panel may query all of them.
import * as g from './lib.mjs';

const S = g.ONE_SESSION;
const R = `${g.REMEDIATOR_HERE},session="$session"`;
const { C } = g;

const rank = `session:baileys_auth_tier:rank{${S}}`;
const last = `session:baileys_auth_tier:last6h{${S}}`;
const files = `session:baileys_auth_accumulated_files:last{${S}}`;
const pace = `session:baileys_auth_accumulated_files:pace{${S}}`;
const orNone = (expr) => `${expr} or vector(-1)`;
/** -1 if there is none, and NaN if it is unknown. */
const orNever = (expr, known) => `${expr} or 0 * ${known} - 1 or vector(NaN)`;
const scraped = `max(${files})`;
const here = `max(baileys_remediator_build_info{${g.REMEDIATOR_HERE}})`;
const never = (text, color) => [...g.words({ '-1': [text, color] }), ...g.unknown('no data')];
const NO_DATA = g.words({ '-1': ['–', C.unknown] });
/** Seconds until the tier with this rank. No growth and an unknown growth have a text. */
const until = (forecast, tierRank) => `min(${forecast} * 3600) or 0 * (max(${last}) >= ${tierRank}) or max(${pace}) * 0 + ${g.NOT_GROWING} or vector(${g.NOT_KNOWN})`;
const UNTIL = { unit: 's', defaults: { decimals: 0 }, thresholds: g.UNTIL.thresholds, mappings: g.UNTIL.mappings };
const connection = `max(3 * baileys_auth_connection_state{${S},state="connected"} + on (instance) 2 * baileys_auth_connection_state{${S},state="unknown"} + on (instance) baileys_auth_connection_state{${S},state="disconnected"})`;
// A device that WhatsApp removed has a valid creds.json until a person scans a new code.
const removed = `0 * max(session:baileys_auth_device_removed:active{${S}}) + 3`;
const login = `${removed} or min(baileys_auth_creds_valid{${S}} + baileys_auth_logged_in{${S}})`;
const tier = `max(${last}) + ${g.LOST} * max(session:baileys_auth_lost{${S}} == 1) or max(${last} + ${g.UNSEEN} unless on (job, instance) up{job=~"$job",instance="$instance"} == 1) or max(${last})`;
const AGO = { unit: 'dateTimeFromNow' };

const refused = `max by (reason) (baileys_remediator_refused_since_timestamp_seconds{${R}})`;
const why = `${refused}
  or on () label_replace(max(baileys_remediator_armed_runs{${R}}), "reason", "waits", "", "")
  or on () label_replace(absent(baileys_remediator_build_info{${g.REMEDIATOR_HERE}}), "reason", "none", "", "")
  or on () label_replace(max(${last}) < 3, "reason", "early", "", "")
  or on () label_replace(max(${last}), "reason", "due", "", "")`;

const what = {
  height: 4,
  panels: [
    [4, g.stat('Tier', 'The tier of the session, by its own thresholds. lost: it was there within 6 hours and is not there now. unknown: its exporter is down.', [g.now(`${tier} or vector(-1)`)], { isState: true, mappings: [...g.words({ '-1': ['not monitored', C.unknown] }), ...g.TIER_WORDS] })],
    [3, g.stat('Files', 'Accumulated files, which the tiers count: those a classic folder would hold.', [g.now(orNone(`max(${files})`))], { thresholds: g.plain(), mappings: NO_DATA })],
    [4, g.stat('Clean-up tier in', 'Time until the tier cleanup (150 files unless configured otherwise) at the pace of now.', [g.now(until(`session:baileys_auth_hours_to_cleanup:forecast{${S}}`, 3))], UNTIL)],
    [4, g.stat('Emergency tier in', 'Time until the tier emergency (180 files unless configured otherwise), from which WhatsApp may remove the device, at the pace of now.', [g.now(until(`session:baileys_auth_hours_to_emergency:forecast{${S}}`, 4))], UNTIL)],
    [3, g.stat('Connection', 'What the evidence says of the bot. Nothing is cleaned unless it is disconnected.', [g.now(orNone(connection))], { isState: true, mappings: g.CONNECTION_WORDS })],
    [3, g.stat('Login', 'ok: creds.json is valid and paired. device removed: WhatsApp has removed it, and a person has to scan a QR code. logged out: valid, but not paired. creds.json broken: missing, empty, cut off or unreadable.', [g.now(orNone(login))], { isState: true, mappings: g.LOGIN_WORDS, options: { text: { valueSize: 18 } } })],
    [3, g.stat('Last clean-up', 'When a clean-up last moved files, by the remediator on this host.', [g.now(orNever(`max(baileys_remediator_last_cleanup_timestamp_seconds{${R}}) * 1000`, here))], { ...AGO, mappings: [...g.words({ '-1': ['never', C.unknown] }), ...g.unknown('no remediator')], options: { text: { valueSize: 18 } } })],
  ],
};

const reasons = {
  height: 5,
  panels: [
    [
      12,
      g.table('Why it is not cleaned', 'The reason of the remediator on this host, and since when.', [g.rows(`${why.replace(refused, `${refused} * 1000`)}`)], {
        sortBy: 'Reason',
        defaults: { noValue: 'not monitored' },
        columns: [['reason', 'Reason', { mappings: g.WHY, 'custom.minWidth': 200 }], ...['Value', 'Value #A'].map((name) => [name, 'Since', { unit: 'dateTimeFromNow', mappings: g.from(-1, '–').map((mapping) => ({ ...mapping, options: { ...mapping.options, to: 1e6 } })), 'custom.width': 130 }])],
      }),
    ],
    [
      12,
      g.table(
        'The latest run',
        'How the latest clean-up or emergency of this session ended. `baileys_remediator runs` lists all.',
        [g.rows(`max by (action, status, reason) (baileys_remediator_last_run_timestamp_seconds{${R}}) * 1000`)],
        {
          sortBy: 'Ended',
          defaults: { noValue: 'no run yet, or no remediator is scraped on this host' },
          columns: [
            ['action', 'Action', { 'custom.width': 100 }],
            ['status', 'Status', { mappings: g.STATUS_TEXTS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 90 }],
            ['reason', 'Reason', { mappings: g.WHY, noValue: '–', 'custom.minWidth': 120 }],
            ...['Value', 'Value #A'].map((name) => [name, 'Ended', { unit: 'dateTimeFromNow', 'custom.width': 130 }]),
          ],
        },
      ),
    ],
  ],
};

const tierColor = Object.fromEntries(g.TIERS);
const graphs = {
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
  height: 6,
  panels: [
    [
      24,
      g.stateTimeline(
        'Connection, login and tier over time',
        'What the bot was doing: whether it was connected, whether it was logged in, and its tier. Grey is not known.',
        [g.range(connection, 'connection'), g.range(login, 'login'), g.range(`max(${rank}) or max(${last}) + ${g.LOST} * max(session:baileys_auth_lost{${S}} == 1)`, 'tier')],
        {
          mappings: [...g.TIER_WORDS, ...g.unknown('unknown')],
          overrides: [g.override('connection', { mappings: [...g.CONNECTION_WORDS, ...g.unknown('unknown')] }), g.override('login', { mappings: [...g.LOGIN_WORDS, ...g.unknown('unknown')] })],
        },
      ),
    ],
  ],
};

const details = {
  title: 'Details',
  collapsed: true,
  height: 4,
  panels: [
    [3, g.stat('Files an hour', 'Files that the folder gains in an hour, by the pace that the forecast uses.', [g.now(orNone(`max(${pace})`))], { defaults: { decimals: 1 }, mappings: NO_DATA })],
    [3, g.stat('Change in 24 h', 'Accumulated files gained, or lost, in the last 24 hours.', [g.now(`max(${g.slow(`session:baileys_auth_accumulated_files:delta1d{${S}}`)}) or vector(NaN)`)], { mappings: g.unknown('no data') })],
    [3, g.stat('Removable now', 'Files that a clean-up, and an emergency, could move now. 0 where it would be refused as dormant, recently active again after a long silence, or without a valid creds.json.', ['cleanup', 'emergency'].map((action) => g.now(orNone(`max(session:baileys_auth_removable_files:sum{${S},action="${action}"})`), action)), { mappings: NO_DATA, options: { orientation: 'vertical' } })],
    [3, g.stat('Files after the last clean-up', 'Accumulated files right after the last clean-up.', [g.now(orNone(`max(baileys_remediator_last_cleanup_accumulated_files{${R}})`))], { mappings: NO_DATA })],
    [3, g.stat('Copy of creds.json', 'When the newest copy that the remediator keeps was last known to be what the folder holds.', [g.now(orNever(`max(baileys_remediator_creds_insured_timestamp_seconds{${R}}) * 1000`, here))], { ...AGO, mappings: never('none', C.cleanup) })],
    [3, g.stat('Chats', 'not used: no chat was active within 14 days (dormant); a clean-up refuses it.', [g.now(orNone(`max(baileys_auth_dormant{${S}})`))], { mappings: g.words({ '-1': ['–', C.unknown], 0: ['active'], 1: ['not used', C.cleanup] }) })],
    [3, g.stat('Oldest active chat', 'When the chat silent longest among those of the last 14 days was last used.', [g.now(orNever(`min(baileys_auth_oldest_active_session_timestamp_seconds{${S}}) * 1000`, scraped))], { ...AGO, mappings: never('none') })],
    [3, g.stat('Warnings in the logs, 24 h', 'Signs of trouble in its logs in the last 24 hours, patterns of severity info left out.', [g.now(orNone(`round(max(${g.slow(`session:baileys_auth_signal_warnings:increase1d{${S}}`)}))`))], { mappings: g.words({ '-1': ['no logs', C.unknown] }) })],
  ],
};

// One bar is at least ten minutes. Then $__rate_interval is hardly longer than a bar, and almost
// nothing is counted twice. Do not add up bars: a total has its own query.
const BAR = '10m';
const minted = `delta(baileys_auth_next_pre_key_id{${S}}[$__rate_interval])`;
const kept = `delta(baileys_auth_pre_keys{${S}}[$__rate_interval])`;
const preKeys = {
  title: 'Pre-keys',
  collapsed: true,
  height: 9,
  panels: [
    [
      12,
      g.timeseries(
        'Pre-keys held',
        'One-time pre-keys in the folder against the batch that a login makes. Baileys makes new ones when WhatsApp has few left; a healthy 6.x folder swings between 5 and 35, one of 7.x between some and 812.',
        [g.range(`max(baileys_auth_pre_keys{${S}})`, 'held'), g.range(`max(baileys_auth_pre_key_batch{${S}})`, 'batch')],
        { defaults: { decimals: 0 }, custom: { fillOpacity: 10 }, overrides: [g.override('held', g.fixed(C.normal)), g.override('batch', { 'custom.lineStyle': { fill: 'dash', dash: [8, 6] }, 'custom.fillOpacity': 0, ...g.fixed('text') })] },
      ),
    ],
    [
      12,
      g.timeseries(
        'Pre-keys made and gone',
        'Above the line, pre-keys that the bot made; below it, those that went: contacts used them to begin a chat, or a clean-up moved them.',
        [g.range(`clamp_min(round(sum(${minted})), 0)`, 'made'), g.range(`clamp_min(round(sum(${minted} - ${kept})), 0)`, 'used or moved')],
        {
          interval: BAR,
          defaults: { decimals: 0, min: undefined },
          custom: { ...g.BARS, stacking: { group: 'A', mode: 'none' } },
          overrides: [g.override('made', g.fixed(C.normal)), g.override('used or moved', { 'custom.transform': 'negative-Y', ...g.fixed(C.cleanup) })],
        },
      ),
    ],
  ],
};

const age = (which, unit) => `(time() - max by (kind) (baileys_auth_${which}_file_timestamp_seconds{${S}})) / ${unit}`;
const NO_TIMES = 'the exporter runs without --collector.file_times';
const ages = {
  title: 'Ages of the files',
  collapsed: true,
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
  collapsed: true,
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
        { defaults: { noValue: 'no log is followed' } },
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
        'Lines in the session’s logs, and lines that show a private key, which no one should be able to read.',
        [g.range(`round(sum(increase(baileys_auth_log_lines_total{${S}}[$__rate_interval])))`, 'lines'), g.range(`round(sum(increase(baileys_auth_log_secret_lines_total{${S}}[$__rate_interval])))`, 'with secrets')],
        { interval: BAR, custom: { ...g.BARS, stacking: { group: 'A', mode: 'none' } }, defaults: { decimals: 0, noValue: 'no log is followed' }, overrides: [g.override('lines', g.fixed('text')), g.override('with secrets', g.fixed(C.emergency))] },
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
    [6, g.stat('Logs understood', 'half: its logs never showed a line of the library’s logger (pino at silent or fatal), so only what the bot itself prints is counted.', [g.now(orNone(`max(baileys_auth_log_half_monitored{${S}})`))], { mappings: g.words({ '-1': ['no logs', C.unknown], 0: ['all'], 1: ['half', C.cleanup] }) })],
  ],
};

const RUN_STATUS = { done: C.normal, refused: C.cleanup, failed: C.emergency };
const runs = {
  title: 'Runs',
  collapsed: true,
  height: 7,
  panels: [
    [
      24,
      g.stateTimeline(
        'The latest run, over time',
        'Which run was the latest at each time, by how it ended: done moved files, refused is a guard’s word, failed broke. `baileys_remediator runs` lists all.',
        [
          g.range(
            Object.keys(RUN_STATUS)
              .map((status, i) => `max by (action, status, reason) (baileys_remediator_last_run_timestamp_seconds{${R},status="${status}"} * 0 + ${i})`)
              .join(' or '),
            '{{action}} {{status}} {{reason}}',
          ),
        ],
        { mappings: g.words(Object.fromEntries(Object.entries(RUN_STATUS).map(([status, color], i) => [i, [status, color]]))), defaults: { noValue: 'no run, or no remediator is scraped on this host' } },
      ),
    ],
  ],
};

const preKeyFacts = {
  height: 4,
  panels: [
    [6, g.stat('Pre-keys in the folder', 'One-time pre-keys in the folder, and how many a login makes.', [g.now(orNone(`max(baileys_auth_pre_keys{${S}})`), 'held'), g.now(orNone(`max(baileys_auth_pre_key_batch{${S}})`), 'batch')], { mappings: NO_DATA, options: { orientation: 'auto' } })],
    [6, g.stat('Newest pre-key', 'Whether the file of the pre-key made last is there. missing: a contact used it, or something deleted it.', [g.now(orNone(`max(baileys_auth_newest_pre_key_missing{${S}})`))], { mappings: g.words({ '-1': ['–', C.unknown], 0: ['there'], 1: ['missing', C.cleanup] }) })],
    [6, g.stat('Pre-keys at a login', 'How many one-time pre-keys this bot makes at a login, its batch: 30 up to Baileys 7.0.0-rc.5, 812 later. unknown: the folder does not tell, so its count of files, and its tier, may be wrong. To set it, run npm ls baileys @whiskeysockets/baileys in the directory of the bot, and write the number as pre_key_batch of the session into the configuration.', [g.now(orNone(`(max(baileys_auth_pre_key_batch_ambiguous{${S}}) == 1) * -2 or max(baileys_auth_pre_key_batch{${S}})`))], { mappings: g.words({ '-1': ['–', C.unknown], '-2': ['unknown: set pre_key_batch', C.cleanup] }) })],
  ],
};

export default g.dashboard({
  uid: g.UIDS.session,
  title: 'Baileys / Session',
  description: 'One auth folder on one host: when it loses its login, why it is not cleaned, its files, its pre-keys, its logs, and what was done about it.',
  from: 'now-24h',
  oneSession: true,
  layout: [what, reasons, states, graphs, details, preKeys, preKeyFacts, ages, logs, lines, runs],
});
