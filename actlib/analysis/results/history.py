"""The history of a training: a row an epoch, as `loops.train` yields it."""


def describe_row(row: dict, epochs: int) -> str:
    """One readable line an epoch."""
    replaced = f", {row['replaced']} clips replaced" if row["replaced"] else ""
    macro_f1 = f", val macro-F1 {row['val_macro_f1']:5.1f} %" if "val_macro_f1" in row else ""
    return (
        f"epoch {row['epoch']:>3} of {epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:5.1f} %, "
        f"val loss {row['val_loss']:.3f}, val top-1 {row['val_top1']:5.1f} %{macro_f1}, lr {row['lr']:.2g}, "
        f"{row['clips_per_s']:.3g} clips/s, {100 * row['data_wait']:.0f} % waiting for data{replaced}"
    )
