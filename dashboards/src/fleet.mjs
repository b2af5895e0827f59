// All sessions at a glance. What is drawn over time comes from recorded series, of which a
// session has one each, so that 500 sessions and 30 days stay quick. What counts sessions over
// time compares without `bool`: that keeps the labels as they are, and is three times as fast.
import * as g from './lib.mjs';

const S = g.SESSIONS;
const T = g.TARGET;
const R = g.REMEDIATOR;
const RS = `${R},session=~"$session"`;
const BY = 'job, instance, session';

const rank = `session:baileys_auth_tier:rank{${S}}`;
const files = `session:baileys_auth_accumulated_files:last{${S}}`;
// What is drawn over the time shown, which may be a month.
const rankDrawn = g.slow(`session:baileys_auth_tier:rank5m{${S}}`);
const filesDrawn = g.slow(`session:baileys_auth_accumulated_files:last5m{${S}}`);
/** One row for each session, also where the metric itself has none: `value` stands there. */
const orEach = (expr, value) => `max by (${BY}) (${expr}) or max by (${BY}) (${rank} * 0 + ${value})`;

// 0 would say that all is well where nobody looked: -1 stands there, and has a word.
const NO_DATA = g.words({ '-1': ['no data', 'text'] });
const NO_LOGS = g.words({ '-1': ['no logs', 'text'] });
const SHOWN = 20;
const LINES = 10;
const GROWERS = 12;

// The exporters of the jobs chosen: `up` knows every job that Prometheus has, and of an exporter
// that is down it is all there is, so which jobs are meant is told by what was recorded of them.
const exporters = `(up{${T}} == bool 0) and on (job) last_over_time(instance:baileys_auth_sessions:count{${T}}[7d])`;

const sessionsNow = {
  height: 4,
  panels: [
    [
      3,
      g.stat(
        'Sessions',
        'Auth folders that are watched, among those chosen above, and those of them below their first tier, which is 100 accumulated files unless configured otherwise. An exporter that is down tells of none: see Exporters down.',
        [g.now(`count(${rank}) or vector(-1)`, 'watched'), g.now(`sum(${rank} == bool 0) or vector(-1)`, 'normal')],
        { mappings: NO_DATA, overrides: [g.override('normal', { thresholds: g.plain('green') })], options: { orientation: 'auto' } },
      ),
    ],
    [3, g.stat('Warning +', 'Sessions in the tier warning (120), cleanup (150), emergency (180) or fatal (200).', [g.now(`sum(${rank} >= bool 2) or vector(-1)`)], { thresholds: g.none('yellow'), mappings: NO_DATA })],
    [3, g.stat('Emergency +', 'Sessions in the tier emergency (180) or fatal (200): the device may be removed soon.', [g.now(`sum(${rank} >= bool 4) or vector(-1)`)], { thresholds: g.none('red'), mappings: NO_DATA })],
    [
      3,
      g.stat(
        'Connection',
        'Bots that are found disconnected (down), and bots of which nobody can tell. No bot of unknown connection is ever cleaned: without a probe all are unknown.',
        Object.entries({ disconnected: 'down', unknown: 'unknown' }).map(([state, name]) => g.now(`sum(baileys_auth_connection_state{${S},state="${state}"}) or vector(-1)`, name)),
        {
          mappings: NO_DATA,
          overrides: [g.override('down', { thresholds: g.none('orange') })],
          options: { orientation: 'auto' },
        },
      ),
    ],
    [3, g.stat('Not logged in', 'Sessions whose creds.json is broken, or which are not paired with an account: somebody has to look.', [g.now(`sum(baileys_auth_creds_valid{${S}} + baileys_auth_logged_in{${S}} < bool 2) or vector(-1)`)], { thresholds: g.none('red'), mappings: NO_DATA })],
    [3, g.stat('Warnings 24 h', 'Signs of trouble in the logs of all these sessions in the last 24 hours, patterns of severity info left out.', [g.now(`round(sum(${g.slow(`session:baileys_auth_signal_warnings:increase1d{${S}}`)})) or vector(-1)`)], { thresholds: g.none('yellow'), mappings: NO_LOGS })],
    [3, g.stat('Exporters down', 'Exporters that Prometheus cannot scrape: of the sessions on those hosts nothing here tells. no data: Prometheus scrapes none at all.', [g.now(`sum(${exporters}) or vector(-1)`)], { thresholds: g.none('red'), mappings: NO_DATA })],
    [
      3,
      g.stat(
        'Remediator',
        'acting: alerts are answered. paused: a person has paused it. halted: its breaker is open until a person resumes it. none: no remediator is scraped.',
        [g.now(`2 * max(baileys_remediator_breaker_open{${R}}) > 0 or max(baileys_remediator_paused{${R}}) or vector(-1)`)],
        { mappings: g.words({ '-1': ['none', 'text'], 0: ['acting', 'green'], 1: ['paused', 'yellow'], 2: ['halted', 'red'] }) },
      ),
    ],
  ],
};

const lead = `baileys_remediator_last_cleanup_lead_seconds{${RS}} and on (instance, session) baileys_remediator_last_cleanup_timestamp_seconds{${RS}} > time() - $__range_s`;
const success = {
  title: 'Success metrics, over the time shown',
  height: 5,
  panels: [
    [
      4,
      g.stat(
        'Time below 100 files',
        'Share of all the time of all sessions that they spent below their first tier, 100 accumulated files unless configured otherwise. Of the instances chosen; the choice of sessions does not matter here.',
        [g.now(`sum(sum_over_time(instance:baileys_auth_sessions_normal:count{${T}}[$__range])) / sum(sum_over_time(instance:baileys_auth_sessions:count{${T}}[$__range]))`)],
        { unit: 'percentunit', thresholds: g.steps([null, 'red'], [0.8, 'yellow'], [0.95, 'green']), defaults: { decimals: 1 } },
      ),
    ],
    [
      6,
      g.timeseries(
        'Sessions below 100 files',
        'The share of sessions below their first tier, over time. Of the instances chosen; the choice of sessions does not matter here.',
        [g.range(`sum(instance:baileys_auth_sessions_normal:count{${T}}) / sum(instance:baileys_auth_sessions:count{${T}})`, 'below 100 files')],
        { unit: 'percentunit', defaults: { max: 1, ...g.fixed('green') }, custom: { fillOpacity: 20 }, legend: { showLegend: false } },
      ),
    ],
    [
      4,
      g.stat(
        'Devices removed',
        'How often WhatsApp removed a device, by the logs: each time somebody had to scan a QR code.',
        [g.now(`round(sum(increase(session:baileys_auth_device_removed_total:last{${S}}[$__range]))) or vector(-1)`)],
        { thresholds: g.none('red'), mappings: NO_LOGS },
      ),
    ],
    [
      5,
      g.stat(
        'Clean-ups',
        'Runs that moved files and ended well, and runs that broke. What a guard refused is neither: it is on the dashboard Remediation. Of the remediators chosen.',
        [
          g.now(`round(sum(increase(baileys_remediator_cleanups_total{${R}}[$__range]))) or vector(-1)`, 'worked'),
          g.now(`round(sum(increase(baileys_remediator_run_failures_total{${R},action=~"cleanup|emergency"}[$__range]))) or vector(-1)`, 'failed'),
        ],
        {
          mappings: g.words({ '-1': ['–', 'text'] }),
          overrides: [g.override('worked', { thresholds: g.plain('green') }), g.override('failed', { thresholds: g.none('red') })],
          options: { orientation: 'vertical' },
        },
      ),
    ],
    [
      5,
      g.stat(
        'From warning to clean-up',
        'From the first alert to the end of the clean-up that answered it: the median and the longest of each session’s latest one in the time shown.',
        [g.now(`quantile(0.5, ${lead}) or vector(-1)`, 'median'), g.now(`max(${lead}) or vector(-1)`, 'longest')],
        { unit: 's', mappings: g.words({ '-1': ['no clean-up'] }), defaults: { decimals: 1 }, options: { orientation: 'vertical' } },
      ),
    ],
  ],
};

const tiers = {
  title: 'Tiers',
  height: 12,
  panels: [
    [
      8,
      g.timeseries(
        'Sessions by tier',
        'How many sessions are in each tier. The thresholds are each session’s own, as the exporter knows them.',
        g.TIERS.map(([name], value) => g.range(`count(${rankDrawn} == ${value}) or vector(0)`, name)),
        { custom: g.STACKED, defaults: { decimals: 0 }, overrides: g.TIERS.map(([name, color]) => g.override(name, g.fixed(color))) },
      ),
    ],
    [
      16,
      g.stateTimeline(
        `Tier of each session (the ${SHOWN} worst)`,
        `The tier of each session over time: of the ${SHOWN} sessions that reached the highest tiers in the last 24 hours of the time shown (of equals, those highest at its end), by instance and name. Choose sessions above to see others.`,
        [
          g.range(
            `${rankDrawn} and on (${BY}) topk(${SHOWN}, max_over_time(session:baileys_auth_tier:rank5m{${S}}[1d] @ end()) + on (${BY}) ${rank} @ end() / 10)`,
            '{{session}}',
          ),
        ],
        { mappings: g.TIER_WORDS, thresholds: g.steps(...g.TIERS.map(([, color], value) => [value || null, color])), options: { perPage: SHOWN } },
      ),
    ],
  ],
};

const growing = `topk(${GROWERS}, ${g.slow(`session:baileys_auth_accumulated_files:delta1d{${S}}`)})`;
const ofGrowing = (expr) => `max by (${BY}) (${expr} and on (${BY}) ${growing})`;
const HOURS = { unit: 'h', decimals: 1, noValue: '–', mappings: g.words({ '-1': ['–', 'text'] }), thresholds: g.steps([null, 'red'], [6, 'orange'], [24, 'yellow'], [72, 'text']), 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 85 };
const growth = {
  title: 'Files',
  height: 11,
  panels: [
    [
      12,
      g.timeseries(
        `Accumulated files (the ${LINES} largest)`,
        `Of the ${LINES} sessions with the most accumulated files at the end of the time shown. The dashed lines are 100 (monitor), 120 (warning), 150 (cleanup) and 180 (emergency); a session may have other thresholds of its own, see the dashboard Session.`,
        [g.range(`${filesDrawn} and on (${BY}) topk(${LINES}, ${files} @ end())`, '{{session}}')],
        { thresholds: { ...g.FILE_STEPS, steps: [{ value: null, color: 'transparent' }, ...g.FILE_STEPS.steps.slice(1)] }, custom: { ...g.DASHED, axisSoftMax: 200 }, legend: g.TABLE_LEGEND('lastNotNull'), defaults: { decimals: 0 } },
      ),
    ],
    [
      12,
      g.table(
        `Top growers (${GROWERS})`,
        'What gained most in the last 24 hours, and the hours until 150 (a clean-up begins) and 180 (the emergency) if it goes on like that. No hours where the session does not grow, or is past that.',
        [
          g.rows(`max by (${BY}) (${growing})`),
          g.rows(ofGrowing(files)),
          g.rows(`${ofGrowing(`${g.slow(`session:baileys_auth_hours_to_cleanup:pace1d{${S}}`)}`)} or max by (${BY}) (${growing} * 0 - 1)`),
          g.rows(`${ofGrowing(`${g.slow(`session:baileys_auth_hours_to_emergency:pace1d{${S}}`)}`)} or max by (${BY}) (${growing} * 0 - 1)`),
        ],
        {
          sortBy: 'In 24 h',
          columns: [
            ['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 140 }],
            ['instance', 'Instance', { 'custom.minWidth': 120 }],
            ['Value #A', 'In 24 h', { decimals: 0, 'custom.width': 65 }],
            ['Value #B', 'Files', { decimals: 0, min: 0, max: 200, thresholds: g.FILE_STEPS, 'custom.cellOptions': { type: 'gauge', mode: 'lcd', valueDisplayMode: 'color' }, 'custom.width': 100 }],
            ['Value #C', 'Until 150', HOURS],
            ['Value #D', 'Until 180', HOURS],
          ],
        },
      ),
    ],
  ],
};

const ago = { unit: 'dateTimeFromNow', mappings: g.words({ 0: ['never'] }), 'custom.width': 115 };
const every = {
  title: 'Every session',
  height: 13,
  panels: [
    [
      24,
      g.table(
        'Each session',
        'One row for each session, the highest tier first. Click a name to see it in depth. Removable is what a clean-up could move now; Oldest active is when the chat silent longest among those of the last 14 days was last used; Warnings are those in the logs.',
        [
          g.rows(`max by (${BY}) (${rank})`),
          g.rows(`max by (${BY}) (${files})`),
          g.rows(orEach(`session:baileys_auth_removable_files:sum{${S},action="cleanup"}`, 0)),
          g.rows(orEach(`baileys_auth_pre_keys{${S}}`, 0)),
          g.rows(orEach(`baileys_auth_pre_key_batch{${S}}`, 0)),
          g.rows(orEach(`baileys_auth_oldest_active_session_timestamp_seconds{${S}} * 1000`, 0)),
          g.rows(`max by (${BY}, state) (baileys_auth_connection_state{${S}} == 1)`),
          g.rows(orEach(`baileys_auth_creds_valid{${S}} + baileys_auth_logged_in{${S}}`, 0)),
          g.rows(orEach(`${g.slow(`session:baileys_auth_signal_warnings:increase1d{${S}}`)}`, -1)),
          g.rows(orEach(`${rank} * 0 + on (session) group_left () max by (session) (baileys_remediator_last_cleanup_timestamp_seconds{${RS}}) * 1000`, 0)),
        ],
        {
          sortBy: ['Tier', 'Files'],
          hidden: ['Value #G'],
          columns: [
            ['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 160 }],
            ['instance', 'Instance', { 'custom.minWidth': 120 }],
            ['Value #A', 'Tier', { mappings: g.TIER_WORDS, 'custom.cellOptions': { type: 'color-background', mode: 'basic' }, 'custom.width': 95 }],
            ['Value #B', 'Files', { decimals: 0, min: 0, max: 200, thresholds: g.FILE_STEPS, 'custom.cellOptions': { type: 'gauge', mode: 'lcd', valueDisplayMode: 'color' }, 'custom.width': 150 }],
            ['Value #C', 'Removable', { decimals: 0, 'custom.width': 85 }],
            ['Value #D', 'Pre-keys', { decimals: 0, 'custom.width': 75 }],
            ['Value #E', 'Batch', { decimals: 0, 'custom.width': 60 }],
            ['Value #F', 'Oldest active', { ...ago, mappings: g.words({ 0: ['none'] }) }],
            ['state', 'Connection', { mappings: g.CONNECTION_TEXTS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 110 }],
            ['Value #H', 'Creds', { mappings: g.CREDS_WORDS, 'custom.cellOptions': { type: 'color-text' }, 'custom.width': 90 }],
            ['Value #I', 'Warnings 24 h', { decimals: 0, mappings: g.words({ '-1': ['no logs'] }), 'custom.width': 110 }],
            ['Value #J', 'Last clean-up', ago],
          ],
        },
      ),
    ],
  ],
};

const watchers = {
  title: 'What watches them',
  height: 4,
  panels: [
    [4, g.stat('Folders not read', 'Auth folders that the exporter could not look at: nothing is known of them.', [g.now(`sum(baileys_auth_folder_up{${S}} == bool 0) or vector(-1)`)], { thresholds: g.none('red'), mappings: NO_DATA })],
    [4, g.stat('Folders left out', 'Auth folders and paths that the exporter leaves out, such as two of one name; its log says which.', [g.now(`sum(baileys_exporter_sessions_skipped{${T}}) or vector(-1)`)], { thresholds: g.none('orange'), mappings: NO_DATA })],
    [4, g.stat('Batch not told', 'Sessions whose folder does not tell for sure how many pre-keys a login mints; set it in the configuration.', [g.now(`sum(baileys_auth_pre_key_batch_ambiguous{${S}}) or vector(-1)`)], { thresholds: g.none('yellow'), mappings: NO_DATA })],
    [4, g.stat('Dormant', 'Sessions in which no chat was active within 14 days; a clean-up refuses them.', [g.now(`sum(baileys_auth_dormant{${S}}) or vector(-1)`)], { thresholds: g.plain(), mappings: NO_DATA })],
    [4, g.stat('Logs not read yet', 'Bytes that stand in the logs and are not counted yet.', [g.now(`sum(baileys_exporter_log_unread_bytes{${T}}) or vector(-1)`)], { unit: 'bytes', thresholds: g.none('orange', 16777216), mappings: NO_LOGS })],
    [4, g.stat('Secret lines 24 h', 'Log lines that show a private key, as libsignal’s dumps of sessions do, in the last 24 hours.', [g.now(`round(sum(increase(baileys_auth_log_secret_lines_total{${S}}[1d]))) or vector(-1)`)], { thresholds: g.none('orange'), mappings: NO_LOGS })],
  ],
};

const inLogs = `round(sum by (instance, glob, pattern) (increase(baileys_exporter_log_unplaced_signals_total{${T}}[1d])))`;
// What a table of one query calls its value.
const VALUE = ['Value', 'Value #A'];
const unseen = {
  height: 7,
  panels: [
    [4, g.stat('Half monitored', 'Sessions whose logs never showed a line of the library’s logger (pino at silent or fatal): only what the bot itself prints is counted.', [g.now(`sum(baileys_auth_log_half_monitored{${S}}) or vector(-1)`)], { thresholds: g.none('yellow'), mappings: NO_LOGS })],
    [
      10,
      g.table('Folders not read, by reason', 'Auth folders that the exporter could not look at, and why.', [g.rows(`max by (${BY}, reason) (baileys_auth_folder_error{${S}} == 1)`)], {
        sortBy: 'Session',
        hidden: VALUE,
        defaults: { noValue: 'all are read' },
        columns: [['session', 'Session', { links: [g.sessionOfInstanceLink], 'custom.width': 120 }], ['instance', 'Instance', { 'custom.width': 160 }], ['reason', 'Reason', { 'custom.minWidth': 80 }]],
      }),
    ],
    [
      10,
      g.table('Signs in logs of no session, in 24 h', 'Signs of trouble in lines that belong to no session, by the glob that names the log. `baileys_remediator doctor` says which log belongs to which session.', [g.rows(`${inLogs} > 0`)], {
        sortBy: 'In 24 h',
        defaults: { noValue: 'none' },
        columns: [['glob', 'Logs', { 'custom.minWidth': 120 }], ['instance', 'Instance', { 'custom.width': 160 }], ['pattern', 'Pattern', { 'custom.width': 140 }], ...VALUE.map((name) => [name, 'In 24 h', { decimals: 0, 'custom.width': 65 }])],
      }),
    ],
  ],
};

export default g.dashboard({
  uid: g.UIDS.fleet,
  title: 'Baileys / Fleet overview',
  description: 'The auth folders of all WhatsApp bots on Baileys: which are in trouble, which will be soon, and what was done about it.',
  from: 'now-24h',
  layout: [sessionsNow, success, tiers, growth, every, watchers, unseen],
});
