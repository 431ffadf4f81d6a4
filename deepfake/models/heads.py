"""Heads: features of a window's frames (B, T, F) -> one logit a window (B,)."""

from __future__ import annotations

from torch import Tensor, nn


class LinearHead(nn.Module):
    """A logit a frame, averaged over the window."""

    def __init__(self, num_features: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, T, F) -> logits (B,)."""
        return self.linear(self.dropout(features)).squeeze(2).mean(dim=1)


class LSTMHead(nn.Module):
    """A logit from an LSTM's last output; its state starts at zero, so equal windows get equal logits."""

    def __init__(
        self, num_features: int, *, hidden_size: int = 128, num_layers: int = 1, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_features, hidden_size, num_layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, T, F) -> logits (B,)."""
        outputs, _ = self.lstm(features)
        return self.linear(self.dropout(outputs[:, -1])).squeeze(1)
