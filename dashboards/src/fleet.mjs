// Overview of all sessions: which bot loses its login next, and when. Graphs over time use
// recorded series, one for each session, so that they stay fast with 500 sessions over 30 days.
// Queries that count sessions over time compare without `bool`: that keeps the labels, and is
// three times as fast.
import * as g from './lib.mjs';

const S = g.SESSIONS;
const T = g.TARGET;
const R = g.REMEDIATOR;
const RS = `${R},session=~"$session"`;
const BY = 'job, instance, session';
const { C } = g;

const rank = `session:baileys_auth_tier:rank{${S}}`;
const files = `session:baileys_auth_accumulated_files:last{${S}}`;
const pace = `session:baileys_auth_accumulated_files:pace{${S}}`;
// The last tier of the past 6 hours, also of a session that is missing now or whose exporter is
// down.
const last = `session:baileys_auth_tier:last6h{${S}}`;
const lost = `session:baileys_auth_lost{${S}} == 1`;
// Graphs over the selected time range, which may be a month.
const rankDrawn = g.slow(`session:baileys_auth_tier:rank5m{${S}}`);
const filesDrawn = g.slow(`session:baileys_auth_accumulated_files:last5m{${S}}`);

/** One row for each session. Where the metric has no series, the row has `value`. */
const orEach = (expr, value) => `max by (${BY}) (${expr}) or on (${BY}) max by (${BY}) (${last} * 0 + ${value})`;
/** The last tier, with an offset for a session that is lost or whose exporter is down. */
const seen = `max by (${BY}) (${last}) + on (${BY}) ${g.LOST} * max by (${BY}) (${lost})
  or on (${BY}) max by (${BY}) (${last} + ${g.UNSEEN} unless on (job, instance) up{${T}} == 1)
  or on (${BY}) max by (${BY}) (${last})`;

// -1 means no data, and has a text of its own: 0 would look healthy.
const NO_DATA = g.words({ '-1': ['–', C.unknown] });
const NO_LOGS = g.words({ '-1': ['no logs', C.unknown] });
const NO_REMEDIATOR = g.words({ '-1': ['–', C.unknown] });
const SHOWN = 20;
const LINES = 10;
const GROWERS = 12;
const SOON = 48;

// The selected exporters that are down. `up` has every job of Prometheus, and is the only series of
// an exporter that is down, so the recorded series of the last 7 days select the jobs.
const down = `(up{${T}} == bool 0) and on (job) last_over_time(instance:baileys_auth_sessions:count{${T}}[7d])`;
const unseen = `sum(instance:baileys_auth_sessions_unknown:count{${T}})`;

// A device that WhatsApp removed has a valid creds.json until a person scans a new code.
const removed = `session:baileys_auth_device_removed:active{${S}}`;
const login = `max by (${BY}) (${removed}) * 0 + 3 or on (${BY}) max by (${BY}) (baileys_auth_creds_valid{${S}} + baileys_auth_logged_in{${S}})`;

// The alerts that page a person. The remediator acts on `tier="emergency"`, which does not page.
const critical = `{alertname=~"Baileys.+",severity="critical",tier!="emergency",instance=~"$instance|$remediator|"`;

const monitored = {
  height: 3,
  panels: [
    [
      24,
      g.stat(
        'Is all of it monitored?',
        'Whether these dashboards have what they draw: the exporters are scraped, the recording rules are loaded, no exporter is down, and logs are read.',
        [g.now(`sum(${down}) > 0 or -2 * absent(baileys_auth_folder_up{${T}}) or -1 * absent(session:baileys_auth_tier:last6h{${T}}) or -3 * absent(baileys_exporter_log_unread_bytes{${T}}) or vector(0)`)],
        {
          isState: true,
          options: { textMode: 'value', text: { valueSize: 16 } },
          mappings: [
            ...g.words({
              '-2': ['Nothing is monitored yet. Add the scrape job of baileys_exporter to Prometheus, and check its --sessions.path.', C.unknown],
              '-1': ['The recording rules are missing. Load baileys.rules.yml into Prometheus; it needs five minutes.', C.cleanup],
              '-3': ['Yes, but no logs are read: a device that WhatsApp removed is not seen as such. Set --logs.path of baileys_exporter.', C.unknown],
              0: ['Yes: every exporter answers.', C.normal],
            }),
            ...g.from(1, 'No: an exporter is down. Its sessions are grey, with their last tier. The row “What is and is not watched” has its host.', C.emergency),
          ],
        },
      ),
    ],
  ],
};

const sessionsNow = {
  height: 4,
  panels: [
    [
      5,
      g.stat(
        'Sessions',
        'Auth folders that are watched now; sessions of the last 6 hours that are missing now although their exporter answers (lost); and sessions whose exporter is down (unknown).',
        [g.now(`count(${rank}) or vector(-1)`, 'watched'), g.now(`count(${lost}) or 0 * count(${last}) or vector(-1)`, 'lost'), g.now(`${unseen} or 0 * count(${last}) or vector(-1)`, 'unknown')],
        { mappings: NO_DATA, overrides: [g.override('lost', { thresholds: g.none() }), g.override('unknown', { thresholds: g.none(C.unknown) })], options: { orientation: 'auto' } },
      ),
    ],
    [3, g.stat('In emergency', 'Sessions in the tier emergency (180 files) or fatal (200): WhatsApp may remove their device soon. The last tier counts for those that are lost or unknown.', [g.now(`count(${last} >= 4) or 0 * count(${last}) or vector(-1)`)], { thresholds: g.none(), mappings: NO_DATA })],
    [3, g.stat('Critical alerts', 'Alerts that page a person and fire now.', [g.now(`count(ALERTS${critical},alertstate="firing"}) or 0 * count(${last}) or vector(-1)`)], { thresholds: g.none(), mappings: NO_DATA })],
    [
      4,
      g.stat(
        'Bots down',
        'Bots that are found disconnected (down), and bots whose state is not known (unknown). No bot of unknown connection is ever cleaned: without a probe all are unknown.',
        Object.entries({ disconnected: 'down', unknown: 'unknown' }).map(([state, name]) => g.now(`sum(baileys_auth_connection_state{${S},state="${state}"}) or vector(-1)`, name)),
        { mappings: NO_DATA, overrides: [g.override('down', { thresholds: g.none(C.cleanup) })], options: { orientation: 'auto' } },
      ),
    ],
    [3, g.stat('Login lost', 'Sessions that a person has to pair again: the device was removed, the bot was logged out, or creds.json is broken.', [g.now(`count((${login}) != 2) or 0 * count(${last}) or vector(-1)`)], { thresholds: g.none(), mappings: NO_DATA })],
    [3, g.stat('Exporters down', 'Exporters that Prometheus cannot scrape: of the sessions on those hosts only the last tier is known.', [g.now(`sum(${down}) or vector(-1)`)], { thresholds: g.none(), mappings: NO_DATA })],
    [
      3,
      g.stat(
        'Remediator',
        'acting: alerts are answered. paused: a person has paused it. halted: its circuit breaker is open until a person resumes it. none: no remediator is scraped.',
        [g.now(`2 * max(baileys_remediator_breaker_open{${R}}) > 0 or max(baileys_remediator_paused{${R}}) or vector(-1)`)],
        { isState: true, mappings: g.words({ '-1': ['none', C.unknown], 0: ['acting', C.normal], 1: ['paused', C.cleanup], 2: ['halted', C.emergency] }) },
      ),
    ],
  ],
};

const hours = `session:baileys_auth_hours_to_emergency:forecast{${S}}`;
/**
 * Seconds until a tier. A session that does not grow, or whose growth is unknown, sorts after all
 * others. `reached` selects the sessions whose last tier it was, also those that are missing now.
 */
const until = (forecast, of, reached) =>
  `max by (${BY}) (${forecast} * 3600 and on (${BY}) ${of})${reached ? ` or on (${BY}) 0 * (${reached})` : ''} or on (${BY}) max by (${BY}) (${pace} * 0 + ${g.NOT_GROWING} and on (${BY}) ${of}) or on (${BY}) max by (${BY}) (${of}) * 0 + ${g.NOT_KNOWN}`;
const atRisk = `(${last} >= 2 or ${last} and on (${BY}) ${hours} < ${SOON} or ${last} and on (${BY}) ${lost})`;
const risky = `max by (${BY}) (${g.withHost(`max by (${BY}) ${atRisk}`)})`;
const hosted = g.withHost(`max by (${BY}) ${atRisk}`);
const ofRemediator = (by, expr) => `max by (${['host', ...by].join(', ')}) (${g.withHost(expr)})`;
const why = `max by (${BY}, reason) (${hosted} * 0 + on (host, session) group_left (reason) topk by (host, session) (1, ${ofRemediator(['session', 'reason'], `baileys_remediator_refused_since_timestamp_seconds{${RS}}`)}))
  or on (${BY}) label_replace(max by (${BY}) (${hosted} and on (host, session) ${ofRemediator(['session'], `baileys_remediator_armed_runs{${RS}}`)}), "reason", "waits", "", "")
  or on (${BY}) label_replace(max by (${BY}) (${hosted} unless on (host) ${ofRemediator([], `baileys_remediator_build_info{${R}}`)}), "reason", "none", "", "")
  or on (${BY}) label_replace(${risky} < 3, "reason", "early", "", "")
  or on (${BY}) label_replace(${risky}, "reason", "due", "", "")`;

const TIER_COLUMN = { mappings: g.TIER_WORDS, 'custom.cellOptions': { type: 'color-background', mode: 'basic' } };
const FILES_COLUMN = { decimals: 0, min: 0, max: 200, thresholds: g.FILE_STEPS, 'custom.cellOptions': { type: 'gauge', mode: 'lcd', valueDisplayMode: 'color' } };
const UNTIL_COLUMN = { ...g.UNTIL, 'custom.cellOptions': { type: 'color-text' } };
const SESSION_COLUMN = ['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.minWidth': 150 }];
const HOST_COLUMN = ['instance', 'Host', { 'custom.minWidth': 150 }];

const worst = {
  height: 9,
  panels: [
    [
      24,
      g.table(
        'At risk, the next to lose its login first',
        `Sessions in the tier warning or above, those that reach the emergency tier within ${SOON} hours as they grow now, and those that are lost. Emergency is the tier (180 files) from which WhatsApp may remove the device at any time; unknown, until half an hour was seen. Not cleaned: why the remediator on its host has not cleaned it yet. Click a name for the whole picture.`,
        [g.rows(until(hours, risky, `${risky} >= 4`)), g.rows(`(${seen}) and on (${BY}) ${risky}`), g.rows(`max by (${BY}) (last_over_time(${files}[6h]) and on (${BY}) ${risky})`), g.rows(why)],
        {
          sortBy: ['Emergency in', { displayName: 'Files', desc: true }],
          desc: false,
          hidden: ['Value #D'],
          defaults: { noValue: 'No monitored session is at risk.' },
          columns: [
            SESSION_COLUMN,
            HOST_COLUMN,
            ['Value #A', 'Emergency in', { ...UNTIL_COLUMN, 'custom.width': 130 }],
            ['Value #B', 'Tier', { ...TIER_COLUMN, 'custom.width': 190 }],
            ['Value #C', 'Files', { ...FILES_COLUMN, 'custom.width': 180 }],
            ['reason', 'Not cleaned', { mappings: g.WHY, links: [g.remediationLink], 'custom.minWidth': 230 }],
          ],
        },
      ),
    ],
  ],
};

const isDown = `max by (${BY}) (baileys_auth_connection_state{${S},state="disconnected"} == 1) or on (${BY}) (${login}) != 2`;
const alarms = {
  height: 8,
  panels: [
    [
      12,
      g.table(
        'Critical alerts, the newest first',
        'Alerts that page a person and fire now, the newest first. The notification of each has its runbook.',
        [g.rows(`max by (alertname, session, instance) (ALERTS_FOR_STATE${critical}} and ignoring (alertstate) ALERTS${critical},alertstate="firing"}) * 1000`)],
        {
          sortBy: 'Since',
          defaults: { noValue: 'No critical alert fires.' },
          columns: [
            ['alertname', 'Alert', { 'custom.width': 205 }],
            ['session', 'Session', { links: [g.sessionOfInstanceLink], noValue: '–', 'custom.width': 140 }],
            ['instance', 'Host', { noValue: '–', 'custom.minWidth': 100 }],
            ...['Value', 'Value #A'].map((name) => [name, 'Since', { unit: 'dateTimeFromNow', 'custom.width': 120 }]),
          ],
        },
      ),
    ],
    [
      12,
      g.table(
        'Bots that are down',
        'Bots that are found disconnected, and bots that lost their login: those need a person who scans a QR code.',
        [
          g.rows(`(${login}) and on (${BY}) (${isDown})`),
          g.rows(`max by (${BY}) (max_over_time(timestamp(baileys_auth_connection_state{${S},state="connected"} == 1)[1d:5m])) * 1000 and on (${BY}) (${isDown}) or on (${BY}) 0 * (${isDown})`),
        ],
        {
          sortBy: 'Last connected',
          defaults: { noValue: 'No bot is known to be down.' },
          columns: [
            SESSION_COLUMN,
            HOST_COLUMN,
            ['Value #A', 'Login', { mappings: g.LOGIN_WORDS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 140 }],
            ['Value #B', 'Last connected', { unit: 'dateTimeFromNow', mappings: g.words({ 0: ['not within a day', C.unknown] }), 'custom.width': 140 }],
          ],
        },
      ),
    ],
  ],
};

const score = `max_over_time(session:baileys_auth_tier:rank5m{${S}}[1d] @ end()) + on (${BY}) ${last} @ end() / 10`;
// Without a metric name, so that a session keeps its line when it is lost.
const drawn = `(${rankDrawn} + 0 or on (${BY}) ${g.LOST} * (${lost}))`;
const tiers = {
  title: 'Tier over time',
  height: 12,
  panels: [
    [
      24,
      g.stateTimeline(
        `Tier of the ${SHOWN} worst sessions, the worst first`,
        `The tier of each session over time: of the ${SHOWN} sessions that reached the highest tiers in the 24 hours before the end of the time shown. Grey is not known. Choose sessions above to see others.`,
        // One query for each tier, so that the highest come first.
        g.TIERS.map((_, tier) => g.TIERS.length - 1 - tier).map((tier) => g.range(`${drawn} and on (${BY}) topk(${SHOWN}, ${score}) >= ${tier} < ${tier + 1}`, '{{session}} · {{instance}}')),
        { mappings: [...g.words({ [g.LOST]: ['lost', C.unknown] }), ...g.TIER_WORDS, ...g.unknown('unknown')], thresholds: g.steps(...g.TIERS.map(([, color], value) => [value || null, color])), options: { perPage: SHOWN } },
      ),
    ],
  ],
};

const counts = {
  title: 'Sessions and their growth',
  collapsed: true,
  height: 11,
  panels: [
    [
      8,
      g.timeseries(
        'Sessions by tier',
        'How many sessions are in each tier, by the thresholds of each session; and how many are lost or unknown.',
        [
          ...g.TIERS.map(([name], value) => g.range(`count(${rankDrawn} == ${value}) or vector(0)`, name)),
          g.range(`count(${lost}) or vector(0)`, 'lost'),
          g.range(`${unseen} or vector(0)`, 'unknown'),
        ],
        { custom: g.STACKED, defaults: { decimals: 0 }, overrides: [...g.TIERS.map(([name, color]) => g.override(name, g.fixed(color))), g.override('lost', g.fixed('text')), g.override('unknown', g.fixed(C.unknown))] },
      ),
    ],
    [
      8,
      g.timeseries(
        `Accumulated files of the ${LINES} largest`,
        `Of the ${LINES} sessions with the most accumulated files at the end of the time shown. The dashed lines are 100 (monitor), 120 (warning), 150 (cleanup) and 180 (emergency); a session may have thresholds of its own, see the dashboard Session.`,
        [g.range(`${filesDrawn} and on (${BY}) topk(${LINES}, ${files} @ end())`, '{{session}} · {{instance}}')],
        { thresholds: { ...g.FILE_STEPS, steps: [{ value: null, color: 'transparent' }, ...g.FILE_STEPS.steps.slice(1)] }, custom: { ...g.DASHED, axisSoftMax: 200 }, legend: g.TABLE_LEGEND('lastNotNull'), defaults: { decimals: 0 } },
      ),
    ],
    [
      8,
      g.table(
        `The ${GROWERS} that grow fastest`,
        'Files that a session gains in an hour, and how long until 150 files (a clean-up begins) and 180 (the emergency) if it goes on like that.',
        [g.rows(`max by (${BY}) (topk(${GROWERS}, ${pace} > 0))`), g.rows(until(`session:baileys_auth_hours_to_cleanup:forecast{${S}}`, `topk(${GROWERS}, ${pace} > 0)`)), g.rows(until(hours, `topk(${GROWERS}, ${pace} > 0)`))],
        {
          sortBy: 'Files an hour',
          defaults: { noValue: 'No session grows.' },
          columns: [
            ['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 140 }],
            ['instance', 'Host', { 'custom.minWidth': 100 }],
            ['Value #A', 'Files an hour', { decimals: 1, 'custom.width': 100 }],
            ['Value #B', 'Clean-up in', { ...UNTIL_COLUMN, 'custom.width': 100 }],
            ['Value #C', 'Emergency in', { ...UNTIL_COLUMN, 'custom.width': 105 }],
          ],
        },
      ),
    ],
  ],
};

const ago = { unit: 'dateTimeFromNow', mappings: g.words({ 0: ['never'] }), 'custom.width': 115 };
const lastCleanup = `max by (${BY}) (${g.withHost(`max by (${BY}) (${last})`)} * 0 + on (host, session) group_left () ${ofRemediator(['session'], `baileys_remediator_last_cleanup_timestamp_seconds{${RS}}`)}) * 1000`;
const every = {
  title: 'Every session',
  collapsed: true,
  height: 13,
  panels: [
    [
      24,
      g.table(
        'Each session',
        'One row for each session, the highest tier first. Click a name to see it in depth. Removable is what a clean-up could move now; Oldest active is when the chat silent longest among those of the last 14 days was last used; Warnings are those in the logs.',
        [
          g.rows(seen),
          g.rows(orEach(files, -1)),
          g.rows(orEach(`session:baileys_auth_removable_files:sum{${S},action="cleanup"}`, -1)),
          g.rows(orEach(`baileys_auth_pre_keys{${S}}`, -1)),
          g.rows(orEach(`baileys_auth_pre_key_batch{${S}}`, -1)),
          g.rows(orEach(`baileys_auth_oldest_active_session_timestamp_seconds{${S}} * 1000`, 0)),
          g.rows(`max by (${BY}, state) (baileys_auth_connection_state{${S}} == 1)`),
          g.rows(`${login} or on (${BY}) max by (${BY}) (${last}) * 0 - 1`),
          g.rows(orEach(`${g.slow(`session:baileys_auth_signal_warnings:increase1d{${S}}`)}`, -1)),
          g.rows(`${lastCleanup} or on (${BY}) max by (${BY}) (${last}) * 0`),
        ],
        {
          sortBy: ['Tier', 'Files'],
          hidden: ['Value #G'],
          columns: [
            ['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 160 }],
            ['instance', 'Host', { 'custom.minWidth': 120 }],
            ['Value #A', 'Tier', { ...TIER_COLUMN, 'custom.width': 150 }],
            ['Value #B', 'Files', { ...FILES_COLUMN, mappings: NO_DATA, 'custom.width': 150 }],
            ['Value #C', 'Removable', { decimals: 0, mappings: NO_DATA, 'custom.width': 85 }],
            ['Value #D', 'Pre-keys', { decimals: 0, mappings: NO_DATA, 'custom.width': 75 }],
            ['Value #E', 'Batch', { decimals: 0, mappings: NO_DATA, 'custom.width': 60 }],
            ['Value #F', 'Oldest active', { ...ago, mappings: g.words({ 0: ['none'] }) }],
            ['state', 'Connection', { mappings: g.CONNECTION_TEXTS, 'custom.cellOptions': { type: 'color-text' }, noValue: 'unknown', 'custom.width': 110 }],
            ['Value #H', 'Login', { mappings: g.LOGIN_WORDS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 130 }],
            ['Value #I', 'Warnings 24 h', { decimals: 0, mappings: NO_LOGS, 'custom.width': 110 }],
            ['Value #J', 'Last clean-up', ago],
          ],
        },
      ),
    ],
  ],
};

const total = `sum(sum_over_time(instance:baileys_auth_sessions:count{${T}}[$__range]))`;
const lead = `baileys_remediator_last_cleanup_lead_seconds{${RS}} and on (instance, session) baileys_remediator_last_cleanup_timestamp_seconds{${RS}} > time() - $__range_s`;
const success = {
  title: 'Success, over the time shown',
  collapsed: true,
  height: 5,
  panels: [
    [
      4,
      g.stat(
        'Time below 100 files',
        'Of the time that was observed, the share that the sessions spent below their first tier, 100 accumulated files unless configured otherwise. Of the hosts chosen; the choice of sessions does not matter here.',
        [g.now(`sum(sum_over_time(instance:baileys_auth_sessions_normal:count{${T}}[$__range])) / ${total} or vector(-1)`)],
        { unit: 'percentunit', mappings: NO_DATA, thresholds: g.steps([null, C.emergency], [0.8, C.cleanup], [0.95, C.normal]), defaults: { decimals: 1 } },
      ),
    ],
    [
      4,
      g.stat(
        'Time observed',
        'Share of the time of all sessions in which their exporter answered. The rest counts for nothing on the left.',
        [g.now(`${total} / (${total} + (sum(sum_over_time(instance:baileys_auth_sessions_unknown:count{${T}}[$__range])) or vector(0))) or vector(-1)`)],
        { unit: 'percentunit', mappings: NO_DATA, defaults: { decimals: 1 } },
      ),
    ],
    [
      4,
      g.timeseries(
        'Sessions below 100 files',
        'The share of the observed sessions below their first tier, over time. Of the hosts chosen; the choice of sessions does not matter here.',
        [g.range(`sum(instance:baileys_auth_sessions_normal:count{${T}}) / sum(instance:baileys_auth_sessions:count{${T}})`, 'below 100 files')],
        { unit: 'percentunit', defaults: { max: 1, ...g.fixed(C.normal) }, custom: { fillOpacity: 20 }, legend: { showLegend: false } },
      ),
    ],
    [
      4,
      g.stat(
        'Devices removed',
        'How often WhatsApp removed a device, by the logs: each time a person had to scan a QR code.',
        [g.now(`round(sum(increase(session:baileys_auth_device_removed_total:last{${S}}[$__range]))) or vector(-1)`)],
        { thresholds: g.none(), mappings: NO_LOGS },
      ),
    ],
    [
      4,
      g.stat(
        'Clean-ups',
        'Runs that moved files and ended well, and runs that broke. What a guard refused is neither: it is on the dashboard Remediation. Of the remediators chosen.',
        [
          g.now(`round(sum(increase(baileys_remediator_cleanups_total{${R}}[$__range]))) or vector(-1)`, 'worked'),
          g.now(`round(sum(increase(baileys_remediator_run_failures_total{${R},action=~"cleanup|emergency"}[$__range]))) or vector(-1)`, 'failed'),
        ],
        { mappings: NO_REMEDIATOR, overrides: [g.override('failed', { thresholds: g.none() })], options: { orientation: 'vertical' } },
      ),
    ],
    [
      4,
      g.stat(
        'From first alert to clean-up',
        'From the first alert to the end of the clean-up that answered it: the median and the longest of each session’s latest one in the time shown.',
        [g.now(`quantile(0.5, ${lead}) or vector(-1)`, 'median'), g.now(`max(${lead}) or vector(-1)`, 'longest')],
        { unit: 's', mappings: g.words({ '-1': ['no clean-up', C.unknown] }), defaults: { decimals: 1 }, options: { orientation: 'vertical' } },
      ),
    ],
  ],
};

const watchers = {
  title: 'What is and is not watched',
  collapsed: true,
  height: 4,
  panels: [
    [4, g.stat('Folders not read', 'Auth folders that the exporter could not look at: nothing is known of them.', [g.now(`sum(baileys_auth_folder_up{${S}} == bool 0) or vector(-1)`)], { thresholds: g.none(), mappings: NO_DATA })],
    [4, g.stat('Folders left out', 'Auth folders and paths that the exporter leaves out, such as two of one name; its log says which.', [g.now(`sum(baileys_exporter_sessions_skipped{${T},reason!="copy"}) or vector(-1)`)], { thresholds: g.none(C.cleanup), mappings: NO_DATA })],
    [4, g.stat('Pre-key batch unknown', 'Sessions whose folder does not tell how many pre-keys a login makes (30 or 812), so their tier may be wrong. The dashboard Session says what to do.', [g.now(`sum(baileys_auth_pre_key_batch_ambiguous{${S}}) or vector(-1)`)], { mappings: NO_DATA })],
    [4, g.stat('Not used for 14 days', 'Sessions in which no chat was active within 14 days (dormant); a clean-up refuses them.', [g.now(`sum(baileys_auth_dormant{${S}}) or vector(-1)`)], { mappings: NO_DATA })],
    [4, g.stat('Log bytes not read yet', 'Bytes that stand in the logs and are not counted yet.', [g.now(`sum(baileys_exporter_log_unread_bytes{${T}}) or vector(-1)`)], { unit: 'bytes', thresholds: g.none(C.cleanup, 16777216), mappings: NO_LOGS })],
    [4, g.stat('Log lines with keys, 24 h', 'Log lines that show a private key, as libsignal’s dumps of sessions do, in the last 24 hours.', [g.now(`round(sum(increase(baileys_auth_log_secret_lines_total{${S}}[1d]))) or vector(-1)`)], { thresholds: g.none(C.cleanup), mappings: NO_LOGS })],
  ],
};

const inLogs = `round(sum by (instance, glob, pattern) (increase(baileys_exporter_log_unplaced_signals_total{${T}}[1d])))`;
// The names of the value column in a table with one query.
const VALUE = ['Value', 'Value #A'];
const notSeen = {
  height: 7,
  panels: [
    [
      4,
      g.table('Exporters', 'Every exporter, those that Prometheus cannot scrape first.', [g.rows(`max by (instance) (up{${T}} and on (job) last_over_time(instance:baileys_auth_sessions:count{${T}}[7d]))`)], {
        sortBy: 'State',
        desc: false,
        defaults: { noValue: 'none' },
        columns: [['instance', 'Host', { 'custom.minWidth': 110 }], ...VALUE.map((name) => [name, 'State', { mappings: g.words({ 0: ['down', C.emergency], 1: ['answers', C.normal] }), 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 80 }])],
      }),
    ],
    [4, g.stat('Logs half understood', 'Sessions whose logs never showed a line of the library’s logger (pino at silent or fatal): only what the bot itself prints is counted.', [g.now(`sum(baileys_auth_log_half_monitored{${S}}) or vector(-1)`)], { mappings: NO_LOGS })],
    [
      8,
      g.table('Folders not read, by reason', 'Auth folders that the exporter could not look at, and why.', [g.rows(`max by (${BY}, reason) (baileys_auth_folder_error{${S}} == 1)`)], {
        sortBy: 'Session',
        hidden: VALUE,
        defaults: { noValue: 'all are read' },
        columns: [['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 120 }], ['instance', 'Host', { 'custom.width': 140 }], ['reason', 'Reason', { 'custom.minWidth': 80 }]],
      }),
    ],
    [
      8,
      g.table('Signs in logs of no session, in 24 h', 'Signs of trouble in lines that belong to no session, by the glob that names the log. `baileys_remediator doctor` says which log belongs to which session.', [g.rows(`${inLogs} > 0`)], {
        sortBy: 'In 24 h',
        defaults: { noValue: 'none' },
        columns: [['glob', 'Logs', { 'custom.minWidth': 120 }], ['instance', 'Host', { 'custom.width': 140 }], ['pattern', 'Pattern', { 'custom.width': 120 }], ...VALUE.map((name) => [name, 'In 24 h', { decimals: 0, 'custom.width': 65 }])],
      }),
    ],
  ],
};

export default g.dashboard({
  uid: g.UIDS.fleet,
  title: 'Baileys / Fleet overview',
  description: 'The auth folders of all WhatsApp bots on Baileys: which loses its login next and when, what alerts, and what is down.',
  from: 'now-24h',
  layout: [monitored, sessionsNow, worst, alarms, tiers, counts, every, success, watchers, notSeen],
});
