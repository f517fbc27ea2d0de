//! Plots: for each measure of a workload one SVG, with a panel for each case and a bar for each peer.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Report, Table, number};

const PANEL: u32 = 300;
const NAMES: i32 = 150;
const BAR: i32 = 18;
const HEAD: i32 = 44;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Writes the plots of a workload into a folder, and says where they are.
pub fn write(report: &Report, workload: &'static str, folder: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    let mut files = Vec::new();
    for table in report.tables(workload) {
        let file = folder.join(format!("{workload}-{}.svg", table.measure.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        draw(&table, &file)?;
        files.push(file);
    }
    Ok(files)
}

fn draw(table: &Table<'_>, file: &Path) -> Drawn {
    let size = (NAMES as u32 + PANEL * table.cases.len() as u32, (HEAD + BAR * table.peers.len() as i32 + 12) as u32);
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{}: {}", table.workload, table.measure);
    root.draw_text(&title, &text(18, HPos::Left), (8, 12))?;
    for (row, peer) in table.peers.iter().enumerate() {
        root.draw_text(peer, &text(16, HPos::Right), (NAMES - 8, middle(row)))?;
    }
    for (column, case) in table.cases.iter().enumerate() {
        panel(&root, table, case, NAMES + (PANEL * column as u32) as i32)?;
    }
    Ok(root.present()?)
}

/// The bars of one case, from `left` on. Where one is much longer than most, lengths are logarithms.
fn panel(root: &Area<'_>, table: &Table<'_>, case: &str, left: i32) -> Drawn {
    let values: Vec<f64> = table.peers.iter().filter_map(|peer| Some(table.get(case, peer)?.value)).collect();
    let largest = values.iter().copied().fold(0.0, f64::max);
    let smallest = values.iter().copied().filter(|value| *value > 0.0).fold(largest, f64::min);
    let logarithmic = largest > 20.0 * smallest;
    let heading = if logarithmic { format!("{case} (logarithmic)") } else { case.to_owned() };
    root.draw_text(&heading, &text(16, HPos::Left), (left, 32))?;
    let length = |value: f64| match logarithmic {
        _ if value <= 0.0 => 0.0,
        true => (1.0 + (value / smallest).ln()) / (1.0 + (largest / smallest).ln()),
        false => value / largest,
    };
    let longest = f64::from(PANEL) - 80.0;
    for (row, peer) in table.peers.iter().enumerate() {
        let Some(figure) = table.get(case, peer) else { continue };
        let end = left + (length(figure.value) * longest) as i32;
        let corners = [(left, middle(row) - BAR / 2 + 2), (end, middle(row) + BAR / 2 - 2)];
        root.draw(&Rectangle::new(corners, color(peer).filled()))?;
        root.draw_text(&number(figure.value), &text(15, HPos::Left), (end + 4, middle(row)))?;
    }
    Ok(())
}

fn middle(row: usize) -> i32 {
    HEAD + BAR * row as i32 + BAR / 2
}

fn color(peer: &str) -> RGBColor {
    match peer.split(':').next() {
        Some("netpoll") => RGBColor(0, 125, 156),
        Some("raw") => RGBColor(110, 110, 110),
        _ => RGBColor(178, 190, 200),
    }
}

fn text(size: i32, horizontal: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(horizontal, VPos::Center))
}
