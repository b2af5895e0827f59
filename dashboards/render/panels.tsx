// Grafana's panels out of what npm ships of them (all Apache-2.0): time series, stat, bar
// gauge and table are drawn by Grafana's own code. The state timeline and the lines of
// annotations are not published: the stand-ins here keep Grafana's mappings, thresholds,
// colours and units (field.display) and draw with plain elements.
import React, { useRef } from 'react';
import {
  PanelPlugin,
  PanelProps,
  booleanOverrideProcessor,
  cacheFieldDisplayNames,
  dateTimeFormat,
  displayNameOverrideProcessor,
  getDisplayProcessor,
  getFieldDisplayName,
  getFieldDisplayValues,
  identityOverrideProcessor,
  numberOverrideProcessor,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  valueMappingsOverrideProcessor,
  VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, BigValueGraphMode, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { config } from '@grafana/runtime';

const CUSTOM = [
  'drawStyle', 'lineInterpolation', 'lineWidth', 'fillOpacity', 'gradientMode', 'showPoints', 'spanNulls', 'insertNulls',
  'pointSize', 'axisPlacement', 'axisLabel', 'axisColorMode', 'axisBorderShow', 'axisCenteredZero', 'axisSoftMax', 'axisSoftMin',
  'barAlignment', 'barWidthFactor', 'scaleDistribution', 'hideFrom', 'stacking', 'thresholdsStyle', 'lineStyle', 'transform',
  'align', 'cellOptions', 'inspect', 'filterable', 'width', 'minWidth',
];
const custom = {
  useCustomConfig: (builder: any) => {
    for (const id of CUSTOM) {
      builder.addCustomEditor({ id, path: id, name: id, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true, settings: {} });
    }
  },
};
const standard = (id: string, process: any, settings: any = {}) => ({
  id, path: id, name: id, editor: () => null, override: () => null, process, settings, shouldApply: () => true, category: ['Standard options'], description: '',
});
export const fieldConfigEditors = () => [
  standard('unit', stringOverrideProcessor),
  standard('min', numberOverrideProcessor),
  standard('max', numberOverrideProcessor),
  standard('decimals', numberOverrideProcessor, { integer: true }),
  standard('displayName', displayNameOverrideProcessor),
  standard('noValue', stringOverrideProcessor),
  standard('links', identityOverrideProcessor),
  standard('actions', identityOverrideProcessor),
  standard('color', identityOverrideProcessor),
  standard('mappings', valueMappingsOverrideProcessor),
  standard('thresholds', thresholdsOverrideProcessor),
  standard('filterable', booleanOverrideProcessor),
  standard('fieldMinMax', booleanOverrideProcessor),
];

const NoData = ({ fieldConfig, width, height }: PanelProps<any>) => (
  <div data-no-data style={{ width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: config.theme2.colors.text.secondary }}>
    {fieldConfig.defaults.noValue ?? 'No data'}
  </div>
);
const hasValues = (p: PanelProps<any>) => p.data.series.some((frame) => frame.length > 0);

/** The lines that Grafana draws for annotations: [{time, color}]. */
const lines = (): Array<{ time: number; color: string }> =>
  [...(window as any).__annotations.values()].map(({ time, color }) => ({ time, color: config.theme2.visualization.getColorByName(color) }));

const TimeSeriesPanel = (p: PanelProps<any>) => {
  const hooked = useRef(new WeakSet());
  if (!hasValues(p)) {
    return <NoData {...p} />;
  }
  return (
    <TimeSeries frames={p.data.series} timeRange={p.timeRange} timeZone={p.timeZone} width={p.width} height={p.height} legend={p.options.legend}>
      {(builder: any) => {
        if (!hooked.current.has(builder)) {
          hooked.current.add(builder);
          builder.addHook('draw', (u: any) => {
            for (const { time, color } of lines()) {
              const x = u.valToPos(time, 'x', true);
              if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) {
                continue;
              }
              u.ctx.save();
              u.ctx.strokeStyle = u.ctx.fillStyle = color;
              u.ctx.setLineDash([5, 5]);
              u.ctx.lineWidth = 1.5;
              u.ctx.beginPath();
              u.ctx.moveTo(x, u.bbox.top);
              u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
              u.ctx.stroke();
              u.ctx.beginPath();
              u.ctx.moveTo(x - 4, u.bbox.top + u.bbox.height + 5);
              u.ctx.lineTo(x + 4, u.bbox.top + u.bbox.height + 5);
              u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
              u.ctx.fill();
              u.ctx.restore();
            }
          });
        }
        return null;
      }}
    </TimeSeries>
  );
};

const values = (p: PanelProps<any>) =>
  getFieldDisplayValues({
    fieldConfig: p.fieldConfig,
    reduceOptions: p.options.reduceOptions,
    replaceVariables: p.replaceVariables,
    theme: config.theme2,
    data: p.data.series,
    sparkline: p.options.graphMode !== undefined && p.options.graphMode !== BigValueGraphMode.None,
    timeZone: p.timeZone,
  });

const StatPanel = (p: PanelProps<any>) => (
  <VizRepeater
    getValues={() => values(p)}
    renderValue={({ value, width, height, count }: any) => (
      <BigValue
        value={value.display}
        count={count}
        sparkline={value.sparkline}
        colorMode={p.options.colorMode}
        graphMode={p.options.graphMode}
        justifyMode={p.options.justifyMode}
        textMode={p.options.textMode}
        wideLayout={p.options.wideLayout}
        text={p.options.text}
        width={width}
        height={height}
        theme={config.theme2}
      />
    )}
    width={p.width}
    height={p.height}
    source={p.data}
    itemSpacing={3}
    autoGrid
    orientation={p.options.orientation}
    renderCounter={p.renderCounter}
  />
);

const BarGaugePanel = (p: PanelProps<any>) => (
  <VizRepeater
    getValues={() => values(p)}
    renderValue={({ value, width, height, orientation }: any) => (
      <BarGauge
        value={value.display}
        field={value.field}
        width={width}
        height={height}
        orientation={orientation}
        display={value.view?.getFieldDisplayProcessor(value.colIndex)}
        displayMode={p.options.displayMode}
        namePlacement={p.options.namePlacement}
        showUnfilled={p.options.showUnfilled}
        valueDisplayMode={p.options.valueMode}
        theme={config.theme2}
        itemSpacing={8}
        lcdCellWidth={12}
      />
    )}
    width={p.width}
    height={p.height}
    source={p.data}
    orientation={VizOrientation.Horizontal}
    itemSpacing={10}
    minVizHeight={p.options.minVizHeight}
    maxVizHeight={p.options.maxVizHeight}
    minVizWidth={p.options.minVizWidth}
    renderCounter={p.renderCounter}
  />
);

const TablePanel = (p: PanelProps<any>) => {
  if (!hasValues(p)) {
    return <NoData {...p} />;
  }
  cacheFieldDisplayNames(p.data.series);
  return (
    <TableNG
      data={p.data.series[0]}
      width={p.width}
      height={p.height}
      cellHeight={p.options.cellHeight}
      enablePagination={p.options.enablePagination}
      sortBy={p.options.sortBy}
      sortByBehavior={'initial' as any}
      fieldConfig={p.fieldConfig}
      timeRange={p.timeRange}
      noValue={p.fieldConfig.defaults.noValue}
    />
  );
};

const LEGEND = 26;
const AXIS = 22;
const StateTimelinePanel = (p: PanelProps<any>) => {
  if (!hasValues(p)) {
    return <NoData {...p} />;
  }
  const theme = config.theme2;
  const [from, to] = [p.timeRange.from.valueOf(), p.timeRange.to.valueOf()];
  const shown = p.options.perPage ? p.data.series.slice(0, p.options.perPage) : p.data.series;
  const names = shown.map((frame) => getFieldDisplayName(frame.fields[1], frame, p.data.series));
  const measure = document.createElement('canvas').getContext('2d')!;
  measure.font = '12px Inter, sans-serif';
  const left = Math.min(p.width / 3, Math.max(...names.map((name) => measure.measureText(name).width)) + 12);
  const wide = p.width - left - 8;
  const x = (time: number) => left + ((time - from) / (to - from)) * wide;
  const row = (p.height - LEGEND - AXIS) / shown.length;
  const legend = new Map<string, string>();
  const bars = shown.map((frame, i) => {
    const [times, value] = [frame.fields[0].values, frame.fields[1]];
    const display = value.display ?? getDisplayProcessor({ field: value, theme });
    const drawn = [];
    for (let start = 0; start < times.length; ) {
      let end = start + 1;
      while (end < times.length && value.values[end] === value.values[start]) {
        end += 1;
      }
      // Where there is no value, the mapping of null, if there is one.
      const { text, color = '#888' } = display(value.values[start]);
      if (value.values[start] !== null || text) {
        legend.set(text, color);
        const [a, b] = [x(times[start]), x(times[Math.min(end, times.length - 1)])];
        const height = Math.min(row * p.options.rowHeight, row - 2);
        drawn.push(
          <g key={start}>
            <rect x={a} y={i * row + (row - height) / 2} width={Math.max(1, b - a)} height={height} fill={color} opacity={0.8} />
            {p.options.showValue !== 'never' && b - a > measure.measureText(text).width + 10 && (
              <text x={a + 6} y={i * row + row / 2 + 4} fontSize={12} fill={theme.colors.getContrastText(color)}>
                {text}
              </text>
            )}
          </g>,
        );
      }
      start = end;
    }
    return (
      <g key={i}>
        <text x={left - 8} y={i * row + row / 2 + 4} fill={theme.colors.text.primary} fontSize={12} textAnchor="end">
          {names[i]}
        </text>
        {drawn}
      </g>
    );
  });
  const marks = Math.max(2, Math.floor(wide / 130));
  const ticks = Array.from({ length: marks }, (_, i) => from + ((to - from) * (i + 0.5)) / marks);
  return (
    <div>
      <svg width={p.width} height={p.height - LEGEND} style={{ display: 'block' }}>
        {bars}
        {lines()
          .filter(({ time }) => time >= from && time <= to)
          .map(({ time, color }, i) => (
            <line key={`a${i}`} x1={x(time)} x2={x(time)} y1={0} y2={p.height - LEGEND - AXIS} stroke={color} strokeWidth={1.5} strokeDasharray="5 5" />
          ))}
        {ticks.map((time) => (
          <text key={time} x={x(time)} y={p.height - LEGEND - 6} fill={theme.colors.text.primary} fontSize={12} textAnchor="middle">
            {dateTimeFormat(time, { timeZone: 'utc', format: to - from > 3 * 86400e3 ? 'MM/DD' : 'HH:mm' })}
          </text>
        ))}
      </svg>
      <div style={{ height: LEGEND, fontSize: 12, paddingLeft: 8, display: 'flex', gap: 14, alignItems: 'center' }}>
        {[...legend].map(([text, color]) => (
          <span key={text}>
            <span style={{ display: 'inline-block', width: 14, height: 4, borderRadius: 2, background: color, marginRight: 6, verticalAlign: 'middle' }} />
            {text}
          </span>
        ))}
      </div>
    </div>
  );
};

const plugin = (component: any) => new PanelPlugin(component).useFieldConfig(custom as any);
export const panels: Record<string, any> = {
  timeseries: plugin(TimeSeriesPanel),
  stat: plugin(StatPanel),
  bargauge: plugin(BarGaugePanel),
  table: plugin(TablePanel),
  'state-timeline': plugin(StateTimelinePanel),
};
