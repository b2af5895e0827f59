// Runs both programs beside the bots, as the same user:
//   pm2 start ecosystem.config.js && pm2 save
// Do not start the systemd units as well. `pm2 restart NAME` keeps the arguments; after a
// change of these variables run `pm2 delete NAME` and start this file again.
const env = process.env;
const words = text => (text || '').split(' ').filter(Boolean);
const config = `--config.file=${env.BAILEYS_CONFIG || '/etc/baileys/config.yml'}`;

const program = {
  interpreter: 'none',
  // Only the program gets the signal. It completes or ends the commands it has started.
  treekill: false,
  // Always restart it, with growing delays up to 15 seconds.
  autorestart: true,
  exp_backoff_restart_delay: 1000,
};

module.exports = {
  apps: [
    {
      ...program,
      name: 'baileys_exporter',
      script: 'baileys_exporter',
      args: [config, ...words(env.EXPORTER_ARGS)],
      kill_timeout: 10 * 1000,
    },
    {
      ...program,
      name: 'baileys_remediator',
      script: 'baileys_remediator',
      args: ['serve', config, ...words(env.REMEDIATOR_ARGS)],
      // A run under way is completed, and a bot that was stopped is started again. With the
      // default timeouts of `processes` that takes at most 37 minutes; raise it with them.
      kill_timeout: 40 * 60 * 1000,
    },
  ],
};
