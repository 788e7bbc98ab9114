"""The loop: cut, train, measure, keep the cut or roll it back."""
